"""A statement that fails leaves nothing for the next one of its connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from shieldwall.telemetry.store import TelemetryStore

FAILS = (
    "SELECT toUInt32(number) AS number, ['theirs'] AS texts, throwIf(number = 2000000) AS wrong "
    "FROM numbers(4000000) WHERE number % 1000 = 1 OR number = 2000000 SETTINGS max_block_size = 8192"
)
GOOD = (
    "SELECT toUInt32(number) AS number, ['ours'] AS texts, throwIf(number = 2000000) AS wrong FROM numbers(3)"
)
OURS = [(0, ["ours"], 0), (1, ["ours"], 0), (2, ["ours"], 0)]
LINES = b"".join(b'[%d, ["ours"], 0]\n' % number for number in range(3))


def query(client: Client, sql: str) -> object:
    return list(client.query(sql).result_rows)


def raw_query(client: Client, sql: str) -> object:
    return client.raw_query(sql, fmt="JSONCompactEachRow")


def stream(client: Client, sql: str) -> object:
    with client.raw_stream(sql, fmt="JSONCompactEachRow") as lines:
        return b"".join(lines)


def command(client: Client, sql: str) -> object:
    client.command(sql)
    return None


def insert_then_query(client: Client, sql: str) -> object:
    client.command("CREATE OR REPLACE TABLE stage_kept (n UInt8) ENGINE = Memory")
    client.insert("stage_kept", [[1]], column_names=["n"])
    return list(client.query(sql).result_rows)


Way = Callable[[Client, str], object]


@pytest.mark.parametrize("then", [query, raw_query, stream, insert_then_query])
@pytest.mark.parametrize("fails", [query, raw_query, stream, command])
def test_the_next_result_has_no_rows_of_a_statement_that_failed(
    telemetry: TelemetryStore, fails: Way, then: Way
) -> None:
    with telemetry.writer() as client:
        for _ in range(3):
            with pytest.raises(ClickHouseError, match="non-zero"):
                fails(client, FAILS)
            assert then(client, GOOD) == (LINES if then in (raw_query, stream) else OURS)


def test_a_stream_that_is_left_early_leaves_nothing(telemetry: TelemetryStore) -> None:
    with telemetry.hunter() as client:
        with client.raw_stream("SELECT 'theirs' FROM numbers(10000000)", fmt="JSONCompactEachRow") as lines:
            assert lines.read(10)
        assert query(client, GOOD) == OURS
