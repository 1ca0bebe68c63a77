"""The list of lines that agents sent and that could not be stored."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from shieldwall.telemetry.ingest import Batch, Ingester
from shieldwall.times import now, parse
from tests.api.conftest import DEVICE, FOREIGN, SECOND, Api
from tests.conftest import OTHER_TENANT, TENANT
from tests.telemetry.conftest import packed


def reject(api: Api, tenant: str, device: str, *lines: str) -> str:
    """Send lines as an agent would; answers the stream that they came in."""
    stream = uuid4().hex

    async def work() -> None:
        ingester = Ingester(api.services.telemetry, api.services.database)
        await ingester.start()
        await ingester.submit(Batch(tenant, device, "host", "", stream, 1, packed(*lines), "gzip"))
        await ingester.stop()

    asyncio.run(work())
    return stream


@pytest.fixture
def streams(api: Api) -> set[str]:
    """What this test sent; the store has other tests' lines too."""
    return {
        reject(api, TENANT, DEVICE, "no json\x1b[2J", '{"Table": "Nonsense"}'),
        reject(api, TENANT, SECOND, '{"Table": "DeviceEvents"}'),
        reject(api, OTHER_TENANT, FOREIGN, "another tenant's"),
    }


def test_lines_are_listed_newest_first_with_their_reasons(api: Api, streams: set[str]) -> None:
    body = api.get("/api/rejects")
    assert body["@odata.context"].endswith("/api/$metadata#Rejects")
    found = [item for item in body["value"] if item["stream"] in streams]
    assert [(item["machineId"], item["sequence"], item["line"], item["reason"]) for item in found] == [
        (SECOND, 1, 1, "Timestamp is missing or not a time"),
        (DEVICE, 1, 1, "not a JSON object"),
        (DEVICE, 1, 2, "Table is not a hunting table that agents send"),
    ]
    assert found[1]["text"] == "no json\x1b[2J"
    assert abs(parse(found[0]["time"]) - now()) < timedelta(minutes=1)


def test_lines_of_one_device_and_no_more_than_asked_for(api: Api, streams: set[str]) -> None:
    for name in (DEVICE, DEVICE.upper()):
        found = api.get(f"/api/rejects?device={name}&limit=2")["value"]
        assert [item["machineId"] for item in found] == [DEVICE, DEVICE]
    assert api.get(f"/api/rejects?device={FOREIGN}")["value"] == []
    assert api.get("/api/rejects?device='%20OR%201=1--")["value"] == []


def test_lines_of_another_tenant_are_not_listed(api: Api, streams: set[str]) -> None:
    assert {item["machineId"] for item in api.get("/api/rejects", tenant=OTHER_TENANT)["value"]} == {FOREIGN}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", f"device={'a' * 41}"])
def test_bounds_are_told(api: Api, query: str) -> None:
    assert api.error("GET", f"/api/rejects?{query}")[0] == 400


def test_who_may_hunt_may_read_them(api: Api) -> None:
    assert api.error("GET", "/api/rejects", roles=("Machine.Read.All",)) == (403, "Forbidden")
    assert "value" in api.get("/api/rejects", roles=("AdvancedQuery.Read.All",))
