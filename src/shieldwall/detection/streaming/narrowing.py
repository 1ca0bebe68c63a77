"""Rules of many candidate rows, asked of all rows at once where they lie: most turn out to be no hits.

A condition is as true of a row that is no candidate: to say which rows are, key by key, would take longer
than to ask all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from shieldwall.detection.streaming.compiling import CompiledRule
from shieldwall.detection.streaming.scan import row_key
from shieldwall.detection.streaming.statements import RULES_AT_ONCE, Class, hits, with_settings
from shieldwall.kql import sql
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.schema import TABLES

MANY = 500
"""Candidate rows."""
KEY = "$key"


def narrowed(
    client: Client,
    table: str,
    rule: Callable[[int], CompiledRule],
    where: str,
    candidates: Mapping[int, Class],
) -> dict[int, Class]:
    """The candidates, by key, without those rules of many that do not find them.

    Rules that cannot be asked here keep theirs.
    """
    rows: dict[int, int] = {}
    for _, rules in candidates.values():
        for number in rules:
            rows[number] = rows.get(number, 0) + 1
    many = sorted(number for number, count in rows.items() if count >= MANY)
    if not many:
        return dict(candidates)
    key = f"{row_key(TABLES[table])} AS {sql.name(KEY)}"
    lying = f"(SELECT *, {key} FROM {DATABASE}.{table} AS q WHERE {where})"
    found: dict[int, set[int]] = {}
    asked: set[int] = set()
    waiting = deque(many[at : at + RULES_AT_ONCE] for at in range(0, len(many), RULES_AT_ONCE))
    while waiting:
        some = waiting.popleft()
        text = hits(sql.name(KEY), lying, dict.fromkeys(some), rule)
        try:
            for row, numbers in client.query(with_settings(text)).result_rows:
                found.setdefault(row, set()).update(number - 1 for number in numbers)
            asked.update(some)
        except ClickHouseError:
            if len(some) > 1:
                half = len(some) // 2
                waiting.extendleft((some[half:], some[:half]))
    left = {
        key: (
            tenant,
            tuple(number for number in rules if number not in asked or number in found.get(key, ())),
        )
        for key, (tenant, rules) in candidates.items()
    }
    return {row: item for row, item in left.items() if item[1]}
