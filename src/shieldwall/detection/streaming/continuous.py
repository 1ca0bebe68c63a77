"""Continuous rules over every stored group of events, before the group is acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from clickhouse_connect.driver.exceptions import ClickHouseError
from sqlalchemy.orm import Session

from shieldwall import log, metrics
from shieldwall.detection.rules import rule_set
from shieldwall.detection.rules.hits import raise_rule_alerts
from shieldwall.detection.rules.rule_set import RuleSet
from shieldwall.detection.rules.runs import COUNTS, note_continuous
from shieldwall.detection.streaming.cache import RuleCache
from shieldwall.detection.streaming.matching import Matches, WatchedRules
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import StoredGroup
from shieldwall.telemetry.store import TelemetryStore

logger = log.get("detection")


@dataclass(frozen=True)
class InForce:
    """The rules of one revision, as they are told of and as they are looked for."""

    rules: RuleSet
    watched: WatchedRules


class ContinuousDetection:
    """An observer of ingestion: its alerts commit together with the group that they come from.

    A changed rule is in force when `refresh` has compiled it, beside the stream; until then groups are looked
    at with the rules as they were.
    """

    def __init__(self, store: TelemetryStore, database: Database, settings: Settings) -> None:
        self._store = store
        self._database = database
        self._window = settings.incident_window
        self._cache = RuleCache(settings.data / "compiled-rules.json")
        self._in_force: InForce | None = None
        self._refreshing = threading.Lock()

    def refresh(self) -> bool:
        """Take changed rules into force; whether there were any. Seconds, for thousands of new ones."""
        with self._refreshing:
            before = self._in_force
            with self._database.system_read() as session:
                if before is not None and rule_set.revision(session) == before.rules.revision:
                    return False
                rules = rule_set.load(session)
            found = list(rules.continuous())
            watched = WatchedRules(found, self._cache, before.watched if before is not None else None)
            for rule_id, error in watched.refused.items():
                logger.warning("a rule is not continuous", rule=rule_id, problem=error.message)
            with self._store.writer() as client:
                watched.warm(client)
            self._cache.keep(item.rule.query for item in found)
            self.take(InForce(rules, watched))
            return True

    def take(self, rules: InForce) -> None:
        """Look at groups with these rules from now on."""
        self._in_force = rules

    def start(self) -> None:
        self.refresh()

    def observe(self, group: StoredGroup, session: Session) -> Callable[[], None] | None:
        in_force = self._in_force
        if in_force is None:
            return None
        try:
            found = in_force.watched.find_all(self._store, group.rows, f"q.GroupId = {group.id}")
        except ClickHouseError:
            # Events that the rules cannot be asked of are kept all the same.
            logger.exception("a group was not looked at", group=group.id, rows=sum(group.rows.values()))
            return None
        if not found.counts:
            return None
        raise_rule_alerts(session, found.hits, in_force.rules, self._window)
        note_continuous(session, {key: _over(over) for key, over in found.over().items()})
        return lambda: _count(found)


def _over(rows: int) -> dict[str, int]:
    """What is noted of rows that a rule found, but that were too many to look at singly."""
    return dict.fromkeys(COUNTS, 0) | {"rows": rows, "over_limit": rows}


def _count(found: Matches) -> None:
    by_table: dict[str, int] = {}
    for hit in found.hits:
        by_table[hit.table] = by_table.get(hit.table, 0) + 1
    for table, number in by_table.items():
        metrics.events.labels("matched", table).inc(number)
