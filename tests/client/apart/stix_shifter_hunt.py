"""Run by the environment of stix-shifter, which cannot share ours: a STIX pattern through its msatp module.

Reads a request as JSON from standard input and writes the STIX bundle to standard output.
"""

import json
import sys

from stix_shifter.stix_translation.stix_translation import StixTranslation
from stix_shifter.stix_transmission.stix_transmission import StixTransmission

asked = json.load(sys.stdin)
translation = StixTranslation()
queries = translation.translate("msatp", "query", "{}", asked["pattern"], {})["queries"]
connection = {
    "host": asked["host"],
    "port": asked["port"],
    "selfSignedCert": asked["ca"],
    "options": {"timeout": 30},
}
transmission = StixTransmission("msatp", connection, {"auth": asked["auth"]})
ping = transmission.ping()
results = []
for query in queries:
    found = transmission.results(query, 0, 100)
    if not found.get("success"):
        sys.exit(f"{found}\n{query}")
    results += found["data"]
source = {"type": "identity", "id": "identity--3532c56d-ea72-48be-a2ad-1a53f4c9c6d3", "name": "msatp"}
bundle = translation.translate("msatp", "results", source, results, {})
json.dump({"ping": ping, "queries": queries, "rows": len(results), "bundle": bundle}, sys.stdout, default=str)
