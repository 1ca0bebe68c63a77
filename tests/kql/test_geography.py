"""Places of addresses come from a dictionary of the operator's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shieldwall.kql.functions.geography import DATABASE
from shieldwall.kql.schema import Schema
from shieldwall.telemetry.store import TelemetryStore
from tests.kql.conftest import Run

COLUMNS = "country String, state String, city String, latitude Float64, longitude Float64"


@pytest.fixture
def places(telemetry: TelemetryStore) -> Iterator[Schema]:
    with telemetry.writer() as client:
        client.command("CREATE DATABASE places")
        client.command(f"CREATE TABLE places.networks (prefix String, {COLUMNS}) ENGINE = Memory")
        client.command(
            "INSERT INTO places.networks VALUES "
            "('203.0.113.0/24', 'Utopia', 'North', 'Amaurot', -1.5, 2.25), "
            "('2001:db8::/32', 'Laputa', '', '', 0, 0)"
        )
        client.command(
            f"CREATE DICTIONARY places.geo (prefix String, {COLUMNS}) PRIMARY KEY prefix "
            "SOURCE(CLICKHOUSE(DB 'places' TABLE 'networks')) LAYOUT(IP_TRIE) LIFETIME(0)"
        )
    yield Schema(extras={DATABASE: "places.geo"})
    with telemetry.writer() as client:
        client.command("DROP DATABASE places")


def test_places_of_addresses(kql: Run, places: Schema) -> None:
    query = """
        datatable(ip: string)["203.0.113.9", "2001:db8::1", "192.0.2.1", "nothing"]
        | extend place = geo_info_from_ip_address(ip)
        | extend country = tostring(geo_info_from_ip_address(ip).country), latitude = toreal(place.latitude)
        | project ip, place, country, latitude
    """
    answer = kql(query, places)
    known = {"country": "Utopia", "state": "North", "city": "Amaurot", "latitude": -1.5, "longitude": 2.25}
    assert answer.rows[0] == ["203.0.113.9", known, "Utopia", -1.5]
    assert answer.rows[1][2] == "Laputa"
    assert answer.rows[2:] == [["192.0.2.1", None, "", None], ["nothing", None, "", None]]
