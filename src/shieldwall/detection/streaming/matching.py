"""All continuous rules of all tenants as one set, and what it finds in stored rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from clickhouse_connect.driver.client import Client

from shieldwall.detection.rules.rule import Rule, RuleHit
from shieldwall.detection.streaming.compiling import CompiledRule
from shieldwall.detection.streaming.evaluation import Evaluation, evaluate
from shieldwall.detection.streaming.needles import forget_others
from shieldwall.detection.streaming.scan import Found, TableScan, scans
from shieldwall.detection.streaming.statements import Class, with_settings
from shieldwall.kql.errors import KqlError
from shieldwall.telemetry.store import TelemetryStore

TURNS = 10
TABLES_AT_ONCE = 2

Key = tuple[str, str]
"""Tenant and rule."""


class Watched(Protocol):
    """A continuous rule, and the tenants in which it is in force."""

    @property
    def rule(self) -> Rule: ...

    def covers(self, tenant_id: str) -> bool: ...


class Compiled(Protocol):
    """Compiled rules by query; a query that is wrong or not continuous has its error."""

    def get(self, query: str) -> CompiledRule | KqlError: ...


@dataclass
class Matches:
    """Hits, the first of each rule and tenant; how many there were in all; and why rules failed, by id."""

    hits: list[RuleHit] = field(default_factory=list)
    counts: dict[Key, int] = field(default_factory=dict)
    devices: dict[Key, Counter[str]] = field(default_factory=dict)
    """How many by the name of the device, where a row that was found is a row of the table."""
    failed: dict[str, str] = field(default_factory=dict)

    def over(self) -> dict[Key, int]:
        """How many rows of each rule and tenant are counted only."""
        shown = Counter((hit.tenant_id, hit.rule_id) for hit in self.hits)
        return {key: count - shown[key] for key, count in self.counts.items() if count > shown[key]}

    def add(self, other: Matches) -> None:
        self.hits += other.hits
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        for key, devices in other.devices.items():
            self.devices[key] = self.devices.get(key, Counter[str]()) + devices
        self.failed |= other.failed


class WatchedRules:
    """The rules as they are in force, compiled. Never changed: another takes its place.

    A query that several rules have is evaluated once. ``before`` is the set that this one takes the place of.
    """

    def __init__(
        self, watched: Iterable[Watched], compiled: Compiled, before: WatchedRules | None = None
    ) -> None:
        self._by_query: dict[str, list[Watched]] = {}
        self.refused: dict[str, KqlError] = {}
        """Rules that cannot be continuous, by id."""
        rules: dict[str, CompiledRule] = {}
        for item in watched:
            query = item.rule.query
            found = rules.get(query) or compiled.get(query)
            if isinstance(found, KqlError):
                self.refused[item.rule.id] = found
                continue
            rules[query] = found
            self._by_query.setdefault(query, []).append(item)
        self.scans: dict[str, TableScan] = scans(rules.values(), before.scans if before is not None else None)
        self._kept: set[str] = set()
        """Tables of texts that are known to be there."""
        self._covering = lru_cache(100_000)(self._find_covering)

    def warm(self, client: Client) -> None:
        """Let the database compile what it searches for, before events wait for it.

        It keeps what it has compiled in places that are told by hashes of the texts. Where two sets have one
        place, each would be compiled anew with every statement: one of them is turned, which moves it.
        """
        self._keep_all(client)
        for scan in self.scans.values():
            for text in scan.each_search():
                client.query(with_settings(text))
        for _ in range(TURNS):
            if not self._turn_clashing(client):
                break
        for scan in self.scans.values():
            client.query(with_settings(scan.statement("0")))
        forget_others(client, [each for scan in self.scans.values() for each in scan.needles])

    def _turn_clashing(self, client: Client) -> int:
        """Turn each set of texts that is compiled although it was before; how many there were."""
        known = _compiled(client)
        clashing = 0
        for table in self.scans:
            for place, text in enumerate(self.scans[table].each_search()):
                client.query(with_settings(text))
                if (now := _compiled(client)) > known:
                    clashing += 1
                    self.scans[table] = self.scans[table].turned(place)
                    self._keep(client, self.scans[table])
                    client.query(with_settings(self.scans[table].each_search()[place]))
                    now = _compiled(client)
                known = now
        return clashing

    def _keep_all(self, client: Client) -> None:
        for scan in self.scans.values():
            self._keep(client, scan)

    def _keep(self, client: Client, scan: TableScan) -> None:
        for needles in scan.needles:
            if needles.table not in self._kept:
                needles.keep(client)
                self._kept.add(needles.table)

    def find_all(self, store: TelemetryStore, tables: Iterable[str], where: str) -> Matches:
        """What the rules find in the rows of several tables under ``where``."""
        return _joined(self.find(store, table, where) for table in tables)

    def find_everywhere(self, store: TelemetryStore) -> Matches:
        """What the rules find in all rows, in several tables at once: while a statement of one waits, those
        of another use the processors."""
        with store.writer() as client:
            # Tables may have texts in common, which are kept once.
            self._keep_all(client)
        with ThreadPoolExecutor(TABLES_AT_ONCE, "find") as pool:
            return _joined(pool.map(lambda table: self.find(store, table, "1"), self.scans))

    def find(self, store: TelemetryStore, table: str, where: str) -> Matches:
        """What the rules find in the rows of ``table`` under ``where``, SQL of our own making over ``q``."""
        scan = self.scans.get(table)
        if scan is None:
            return Matches()
        with store.writer() as client:
            self._keep(client, scan)
            candidates: dict[Class, list[int]] = {}
            for tenant, keys, found in scanned_rows(client, scan, where):
                covered = self._covered(scan, tenant, scan.candidates(found))
                if covered:
                    candidates.setdefault((tenant, covered), []).extend(keys)
            if not candidates:
                return Matches()
            return self._matches(scan, evaluate(client, table, scan.rules, where, candidates))

    def _covered(self, scan: TableScan, tenant: str, rules: Sequence[int]) -> tuple[int, ...]:
        return tuple(rule for rule in rules if self._covering(tenant, scan.rules[rule].query))

    def _find_covering(self, tenant: str, query: str) -> tuple[str, ...]:
        """The ids of the rules with a query that are in force in a tenant."""
        return tuple(item.rule.id for item in self._by_query[query] if item.covers(tenant))

    def _matches(self, scan: TableScan, found: Evaluation) -> Matches:
        matches = Matches()
        for (tenant, number), rows in found.found.items():
            for rule_id in self._covering(tenant, scan.rules[number].query):
                matches.counts[(tenant, rule_id)] = rows.count
                matches.devices[(tenant, rule_id)] = rows.devices
                matches.hits += [RuleHit(rule_id, tenant, scan.table, row) for row in rows.rows]
        for number, problem in found.failed.items():
            for item in self._by_query[scan.rules[number].query]:
                matches.failed[item.rule.id] = problem
        return matches


def _joined(parts: Iterable[Matches]) -> Matches:
    found = Matches()
    for part in parts:
        found.add(part)
    return found


def _compiled(client: Client) -> int:
    """How many sets of texts were compiled since the database was started."""
    text = "SELECT sum(value) FROM system.events WHERE event = 'RegexpWithMultipleNeedlesCreated'"
    return int(client.query(text).result_rows[0][0])


def scanned_rows(client: Client, scan: TableScan, where: str) -> Iterable[tuple[str, Sequence[int], Found]]:
    """Tenant, keys of rows, and what of the scan's texts these have."""
    for tenant, keys, *found in client.query(with_settings(scan.statement(where))).result_rows:
        yield tenant, keys, tuple(map(tuple, found))


def find_one_by_one(store: TelemetryStore, rules: Iterable[CompiledRule], where: str) -> dict[str, int]:
    """How many rows each rule finds, by query, with one query a rule over all rows. Slow: to compare with."""
    found: dict[str, int] = {}
    with store.writer() as client:
        for rule in rules:
            source = f"(SELECT * FROM shieldwall.{rule.table} AS q WHERE {where})"
            text = with_settings(f"SELECT count() FROM ({rule.over(source)})")
            count = client.query(text).result_rows[0][0]
            if count:
                found[rule.query] = count
    return found
