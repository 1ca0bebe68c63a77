"""The exact evaluation of candidate rules on candidate rows, many rules in one statement.

Candidate rows are copied into a scratch table, with a number for each set of rules that may find a row. What
a statement costs is mostly reading its SQL, some milliseconds a rule, however few rows there are: rules that
are no candidates at all are not written into it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from shieldwall import log
from shieldwall.detection.streaming.compiling import CompiledRule, compile_rule
from shieldwall.detection.streaming.narrowing import narrowed
from shieldwall.detection.streaming.scan import row_key
from shieldwall.detection.streaming.statements import (
    CLASS,
    RULES_AT_ONCE,
    Class,
    hits,
    rules_of,
    with_settings,
)
from shieldwall.kql import sql
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.schema import TABLES

ROWS_AT_ONCE = 20_000
"""Candidate rows that are copied together."""
ROWS_OF_RULE = 200
"""Most rows of one rule in one tenant that are read out; more are counted."""
NUMBER = "$number"

MEMORY_EXCEEDED = 241
"""What ClickHouse calls it."""

logger = log.get("detection")


@dataclass
class RowsFound:
    """What one rule found of one tenant's rows: how many, and the first of them as the result shows them."""

    count: int = 0
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    devices: Counter[str] = field(default_factory=Counter)
    """How many by the device's name."""

    @property
    def room(self) -> int:
        return ROWS_OF_RULE - len(self.rows)


@dataclass
class Evaluation:
    """What was found by tenant and number of the rule; and why rules could not be evaluated."""

    found: dict[tuple[str, int], RowsFound] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


def evaluate(
    client: Client,
    table: str,
    rules: Sequence[CompiledRule],
    where: str,
    candidates: Mapping[Class, Sequence[int]],
) -> Evaluation:
    """What ``rules`` find of the rows of ``table`` under ``where`` that have the keys of ``candidates``."""
    done = Evaluation()
    some = narrowed(
        client, table, lambda number: fresh(rules[number]), where, _by_key(candidates), ROWS_OF_RULE
    )
    parts = deque(_parts(some.left))
    while parts:
        part = parts.popleft()
        try:
            _Part(client, table, rules, done).run(where, part)
        except ScratchFull:
            # Fewer rows at once, as they are large ones.
            keys = list(part)
            half = len(keys) // 2
            parts.extendleft([{key: part[key] for key in half_of} for half_of in (keys[half:], keys[:half])])
    for pair, devices in some.over.items():
        found = done.found.setdefault(pair, RowsFound())
        found.count += devices.total()
        found.devices.update(devices)
    return done


class ScratchFull(Exception):
    """Candidate rows, several of them, are more than fit."""


def fresh(rule: CompiledRule) -> CompiledRule:
    """The rule with the SQL of this moment."""
    return compile_rule(rule.query) if rule.timed else rule


def _by_key(candidates: Mapping[Class, Sequence[int]]) -> dict[int, Class]:
    """The class of each key: rows with one key are candidates for whatever one of them is a candidate for."""
    of_key: dict[int, Class] = {}
    for item, keys in candidates.items():
        for number in keys:
            before = of_key.get(number, item)
            of_key[number] = item if before == item else (item[0], tuple(sorted({*before[1], *item[1]})))
    return of_key


def _parts(candidates: Mapping[int, Class]) -> Iterator[dict[int, Class]]:
    """The candidates in parts of so many; those of the same rules together."""
    ordered = sorted(candidates.items(), key=lambda pair: pair[1][1])
    for start in range(0, len(ordered), ROWS_AT_ONCE):
        yield dict(ordered[start : start + ROWS_AT_ONCE])


class _Part:
    """Evaluation over one part of the candidate rows, in a scratch table of its own."""

    def __init__(self, client: Client, table: str, rules: Sequence[CompiledRule], done: Evaluation) -> None:
        self._client = client
        self._table = TABLES[table]
        self._rules = rules
        self._done = done
        self._several = False
        self._devices: dict[int, str] = {}
        """Names of devices by the number of the row."""
        self._scratch = f"{DATABASE}.stage_rows_{uuid4().hex}"

    def run(self, where: str, keys: Mapping[int, Class]) -> None:
        classes = {item: number for number, item in enumerate(dict.fromkeys(keys.values()), 1)}
        of_rule = rules_of(classes)
        wanted = list(of_rule)
        self._several = len(keys) > 1
        found: dict[tuple[str, int], list[int]] = {}
        with self._copied(where, {item: classes[of] for item, of in keys.items()}):
            for start in range(0, len(wanted), RULES_AT_ONCE):
                some = {rule: of_rule[rule] for rule in wanted[start : start + RULES_AT_ONCE]}
                for row, tenant, device, rule in self._hits(some):
                    found.setdefault((tenant, rule), []).append(row)
                    self._devices[row] = device
            self._read(found)

    @contextmanager
    def _copied(self, where: str, classes: Mapping[int, int]) -> Iterator[None]:
        """The candidate rows in the scratch table, meanwhile."""
        keys, numbers = ", ".join(map(str, classes)), ", ".join(map(str, classes.values()))
        key = row_key(self._table)
        try:
            self._copy(
                f"CREATE TABLE {self._scratch} ENGINE = Memory AS "
                + with_settings(
                    f"SELECT *, rowNumberInAllBlocks() AS {sql.name(NUMBER)}, "
                    f"transform({key}, [{keys}], [{numbers}], 0) AS {sql.name(CLASS)} "
                    f"FROM {DATABASE}.{self._table.name} AS q WHERE {where} AND {key} IN ({keys})"
                ),
            )
            yield
        finally:
            self._client.command(f"DROP TABLE IF EXISTS {self._scratch} SYNC")

    def _copy(self, text: str) -> None:
        try:
            self._client.command(text)
        except ClickHouseError as error:
            if self._several and _is_memory(error):
                raise ScratchFull from error
            raise

    def _hits(self, rules: Mapping[int, Sequence[int]]) -> Iterable[tuple[int, str, str, int]]:
        """Row, tenant, device and rule of each hit of ``rules``, given with the classes of their rows."""
        device = "toString(DeviceName)" if self._table.has("DeviceName") else "''"
        columns = f"{sql.name(NUMBER)}, toString(TenantId), {device}"
        text = hits(columns, self._scratch, rules, self._fresh)
        try:
            rows = self._client.query(with_settings(text)).result_rows
        except ClickHouseError as error:
            items = list(rules.items())
            if len(items) == 1:
                if _is_memory(error) and self._several:
                    raise ScratchFull from error
                self._fail(items[0][0], error)
                return []
            half = len(items) // 2
            return [*self._hits(dict(items[:half])), *self._hits(dict(items[half:]))]
        return [(row, tenant, name, flag - 1) for row, tenant, name, flagged in rows for flag in flagged]

    def _fresh(self, number: int) -> CompiledRule:
        return fresh(self._rules[number])

    def _fail(self, rule: int, error: ClickHouseError) -> None:
        logger.error("a rule failed", query=self._rules[rule].query[:200], problem=str(error)[:500])
        self._done.failed[rule] = str(error)[:500]

    def _read(self, found: Mapping[tuple[str, int], list[int]]) -> None:
        """Count the hits, and read out the first of each rule and tenant."""
        kept: dict[tuple[str, int], list[int]] = {}
        for pair, rows in found.items():
            if self._rules[pair[1]].columns is None:
                self._run(pair, rows)
                continue
            entry = self._done.found.setdefault(pair, RowsFound())
            entry.count += len(rows)
            entry.devices.update(self._devices[row] for row in rows)
            kept[pair] = sorted(rows)[: entry.room]
        wanted = sorted({row for rows in kept.values() for row in rows})
        if not wanted:
            return
        columns = ", ".join(sql.name(column.name) for column in self._table.columns)
        text = f"SELECT {sql.name(NUMBER)}, {columns} FROM {self._scratch} AS q WHERE {_numbered(wanted)}"
        read = {row[NUMBER]: row for row in self._client.query(with_settings(text)).named_results()}
        for pair, rows in kept.items():
            shown = self._rules[pair[1]].columns or ()
            self._done.found[pair].rows += [{name: read[row][name] for name in shown} for row in rows]

    def _run(self, pair: tuple[str, int], rows: Sequence[int]) -> None:
        """Run the whole query over rows that fulfil the part of its condition that was asked so far."""
        rule = self._fresh(pair[1])
        result = rule.over(f"(SELECT * FROM {self._scratch} AS q WHERE {_numbered(rows)})")
        entry = self._done.found.get(pair) or RowsFound()
        try:
            count = self._client.query(with_settings(f"SELECT count() FROM ({result})")).result_rows[0][0]
            if not count:
                return
            entry.count += count
            if count == len(rows):
                entry.devices.update(self._devices[row] for row in rows)
            if entry.room > 0:
                shown = self._client.query(with_settings(f"SELECT * FROM ({result}) LIMIT {entry.room}"))
                entry.rows += list(shown.named_results())
        except ClickHouseError as error:
            self._fail(pair[1], error)
        else:
            self._done.found[pair] = entry


def _is_memory(error: ClickHouseError) -> bool:
    return getattr(error, "code", None) == MEMORY_EXCEEDED


def _numbered(rows: Iterable[int]) -> str:
    return f"{sql.name(NUMBER)} IN ({', '.join(map(str, rows))})"
