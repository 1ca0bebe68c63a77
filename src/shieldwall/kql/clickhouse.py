"""Running plans on ClickHouse, a server or chDB, through a clickhouse-connect client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client

from shieldwall.kql.engine import Statement
from shieldwall.kql.sql import quote

SETTINGS: dict[str, Any] = {
    "enable_materialized_cte": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_denormals": 1,
    "output_format_json_escape_forward_slashes": 0,
    # A number in ORDER BY or GROUP BY is a constant there, not the place of a column.
    "enable_positional_arguments": 0,
    "max_query_size": 64 << 20,
    "max_subquery_depth": 1000,
    "max_parser_depth": 5000,
    "max_ast_depth": 5000,
    "max_ast_elements": 2_000_000,
    "max_expanded_ast_elements": 4_000_000,
}
"""What the statements of a plan rely on."""


class ClickHouseEngine:
    """An `Engine` over one client, with the settings of its caller: limits, filters, read-only mode."""

    def __init__(self, client: Client, settings: Mapping[str, Any] | None = None) -> None:
        self._client = client
        self._settings = {**SETTINGS, **(settings or {})}

    def rows(self, statement: Statement, data: Mapping[str, str]) -> Iterator[list[Any]]:
        # In the statement itself: given apart, chDB's client sets them on its session, where they stay.
        clause = ", ".join(f"{name} = {quote(str(value))}" for name, value in self._settings.items())
        text = f"{statement.filled(data)}\nSETTINGS {clause}"
        with self._client.raw_stream(text, fmt="JSONCompactEachRow") as stream:
            for line in stream:
                yield orjson.loads(line)
