"""Rules of many candidate rows, asked of all rows at once where they lie: most turn out to be no hits.

A condition is as true of a row that is no candidate: to say which rows are, key by key, would take longer
than to ask all of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from shieldwall.detection.streaming import kinds
from shieldwall.detection.streaming.compiling import CompiledRule
from shieldwall.detection.streaming.scan import row_key
from shieldwall.detection.streaming.statements import RULES_AT_ONCE, Class, hits, with_settings
from shieldwall.kql import sql
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.schema import TABLES, Table

MANY = 500
"""Candidate rows."""
KEY = "$key"


@dataclass
class Narrowed:
    """Candidates by key, without the rules of many that do not find them."""

    left: dict[int, Class]
    over: dict[tuple[str, int], Counter[str]] = field(default_factory=dict)
    """By tenant and rule, how many rows were found of each device by name beyond those that are left."""


def narrowed(
    client: Client,
    table: str,
    rule: Callable[[int], CompiledRule],
    where: str,
    candidates: Mapping[int, Class],
    most: int,
) -> Narrowed:
    """The candidates that are left, of each rule of many and tenant at most so many keys.

    Rules that cannot be asked here keep theirs.
    """
    rows = Counter(number for _, rules in candidates.values() for number in rules)
    many = sorted(number for number, count in rows.items() if count >= MANY)
    if not many:
        return Narrowed(dict(candidates))
    found: dict[int, set[int]] = {}
    kept: dict[tuple[str, int], set[int]] = {}
    over: dict[tuple[str, int], Counter[str]] = {}
    asked: set[int] = set()
    waiting = deque(many[at : at + RULES_AT_ONCE] for at in range(0, len(many), RULES_AT_ONCE))
    while waiting:
        some = waiting.popleft()
        rules = {number: rule(number) for number in some}
        try:
            result = client.query(with_settings(_asked(TABLES[table], rules, where))).result_rows
        except ClickHouseError:
            if len(some) > 1:
                half = len(some) // 2
                waiting.extendleft((some[half:], some[:half]))
            continue
        asked.update(some)
        for row, device, numbers in result:
            tenant, possible = candidates.get(row, ("", ()))
            for number in (number - 1 for number in numbers if number - 1 in possible):
                mine = kept.setdefault((tenant, number), set())
                # Where more than the condition is to be asked, it is not known yet which are hits.
                if row in mine or len(mine) < most or rules[number].columns is None:
                    mine.add(row)
                    found.setdefault(row, set()).add(number)
                else:
                    over.setdefault((tenant, number), Counter())[device] += 1
    left = {
        row: (
            tenant,
            tuple(number for number in rules if number not in asked or number in found.get(row, ())),
        )
        for row, (tenant, rules) in candidates.items()
    }
    return Narrowed({row: item for row, item in left.items() if item[1]}, over)


def _asked(table: Table, rules: Mapping[int, CompiledRule], where: str) -> str:
    """SQL of the key and the device's name of rows that rules find, and which these are."""
    device = "toString(DeviceName)" if table.has("DeviceName") else "''"
    key = f"{row_key(table)} AS {sql.name(KEY)}"
    asked = f"({where}) AND {kinds.condition(rule.need for rule in rules.values())}"
    lying = f"(SELECT *, {key} FROM {DATABASE}.{table.name} AS q WHERE {asked})"
    return hits(f"{sql.name(KEY)}, {device}", lying, dict.fromkeys(rules), rules.__getitem__)
