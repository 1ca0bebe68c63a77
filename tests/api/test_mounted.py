"""The application as the server mounts it, beside other routes."""

from __future__ import annotations

from dataclasses import replace

from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.routing import Mount

from shieldwall.api.app import create_api
from tests.api.conftest import DEVICE, URL, Api, Http


def test_paths_links_and_errors_are_the_same_under_a_mount(api: Api) -> None:
    app = Starlette(routes=[Mount("/", create_api(api.services))])
    with start_blocking_portal() as portal:
        mounted = replace(api, http=Http(app, portal))
        body = mounted.get("//API/v1.0/alerts/?pageSize=2")
        assert body["@odata.nextLink"].startswith(f"{URL}/api/alerts?pageSize=2&$skiptoken=")
        assert len(mounted.get(body["@odata.nextLink"].removeprefix(URL))["value"]) == 2
        assert mounted.error("GET", "/nothing") == (404, "NotFound")
        answer = mounted.call("GET", f"/api/machines/{DEVICE}/isolate")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert mounted.http.request("GET", f"{URL}/docs").status_code == 200
        assert mounted.http.request(
            "GET", f"{URL}/contoso.com/v2.0/.well-known/openid-configuration"
        ).is_success
