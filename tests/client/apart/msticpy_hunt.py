"""Run by the environment of msticpy: queries through its Defender provider.

Reads a request as JSON from standard input and writes what came back to standard output.
"""

import json
import sys

asked = json.load(sys.stdin)
sys.stdout, shown = sys.stderr, sys.stdout  # the library prints what it does

from msticpy.data import QueryProvider  # noqa: E402
from msticpy.data.core.query_defns import DataEnvironment  # noqa: E402
from msticpy.data.drivers.mdatp_driver import MDATPDriver  # noqa: E402

driver = MDATPDriver(data_environment=DataEnvironment.MDE)
driver.oauth_url = f"{asked['url']}/{{tenantId}}/oauth2/v2.0/token"
provider = QueryProvider("MDE", driver=driver)
provider.connect(**asked["connect"])

rows = provider.exec_query(asked["query"])
found = {
    "rows": json.loads(rows.to_json(orient="records")),
    "types": {n: str(t) for n, t in rows.dtypes.items()},
}
refused = {}
for name in provider.list_queries():
    try:
        query = provider
        for part in name.split("."):
            query = getattr(query, part)
        query(**asked["parameters"])
    except Exception as error:
        answer = getattr(error, "response", None)
        refused[name] = answer.json()["error"]["message"] if answer is not None else str(error)
json.dump(found | {"queries": provider.list_queries(), "refused": refused}, shown)
