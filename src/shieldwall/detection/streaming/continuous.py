"""Continuous rules over every stored group of events, before the group is acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from clickhouse_connect.driver.exceptions import ClickHouseError
from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall import log, metrics
from shieldwall.detection.rules import rule_set
from shieldwall.detection.rules.hits import raise_rule_alerts
from shieldwall.detection.rules.rule_set import RuleSet
from shieldwall.detection.rules.runs import COUNTS, note_continuous
from shieldwall.detection.streaming.cache import RuleCache
from shieldwall.detection.streaming.matching import Matches, WatchedRules
from shieldwall.detection.streaming.models import MissedGroup
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.ingest import StoredGroup
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

AGAIN = timedelta(minutes=1)
"""After which a missed group is looked at again; doubled with each try."""
LATEST = timedelta(hours=6)
TRIES = 20
AT_ONCE = 20

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
            found = self._find(in_force, group.id, group.rows)
        except ClickHouseError:
            # Events that the rules cannot be asked of now are kept all the same, and looked at later.
            logger.exception("a group was not looked at", group=group.id, rows=sum(group.rows.values()))
            session.add(MissedGroup(id=group.id, rows=dict(group.rows), next_try=now() + AGAIN))
            return None
        self._raise(session, in_force, found)
        return (lambda: _count(found)) if found.counts else None

    def look_again(self) -> int:
        """Look at groups that were missed and are due; how many could be looked at."""
        in_force = self._in_force
        if in_force is None:
            return 0
        with self._database.system_read() as session:
            wanted = select(MissedGroup.id).where(MissedGroup.next_try <= now()).order_by(MissedGroup.id)
            due = session.scalars(wanted.limit(AT_ONCE)).all()
        return sum(self._look_again(in_force, number) for number in due)

    def _look_again(self, in_force: InForce, number: int) -> bool:
        with self._database.system_session() as session:
            missed = session.get(MissedGroup, number, with_for_update=True)
            if missed is None:
                return False
            try:
                found = self._find(in_force, missed.id, missed.rows)
            except ClickHouseError:
                logger.exception("a group was missed again", group=missed.id, tries=missed.tries)
                missed.next_try = now() + min(LATEST, AGAIN * 2**missed.tries)
                missed.tries += 1
                if missed.tries > TRIES:
                    logger.error("a group is given up", group=missed.id, rows=sum(missed.rows.values()))
                    session.delete(missed)
                return False
            self._raise(session, in_force, found)
            session.delete(missed)
        _count(found)
        return True

    def _find(self, in_force: InForce, group_id: int, rows: Mapping[str, int]) -> Matches:
        return in_force.watched.find_all(self._store, rows, f"q.GroupId = {group_id}")

    def _raise(self, session: Session, in_force: InForce, found: Matches) -> None:
        if found.counts:
            raise_rule_alerts(session, found.hits, in_force.rules, self._window)
            note_continuous(session, {key: _over(over) for key, over in found.over().items()})


def _over(rows: int) -> dict[str, int]:
    """What is noted of rows that a rule found, but that were too many to look at singly."""
    return dict.fromkeys(COUNTS, 0) | {"rows": rows, "over_limit": rows}


def _count(found: Matches) -> None:
    by_table: dict[str, int] = {}
    for hit in found.hits:
        by_table[hit.table] = by_table.get(hit.table, 0) + 1
    for table, number in by_table.items():
        metrics.events.labels("matched", table).inc(number)
