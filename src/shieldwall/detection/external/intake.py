"""Taking alerts of other products: kept before they are answered, and kept once however often they come."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, lazyload

from shieldwall import log
from shieldwall.alerts.correlation import lock
from shieldwall.alerts.models import Alert
from shieldwall.alerts.raising import extend_alert, raise_many
from shieldwall.alerts.risk import update_risk
from shieldwall.detection.external import clocks, offers
from shieldwall.detection.external.batches import parts
from shieldwall.detection.external.drafting import draft, other_end
from shieldwall.detection.external.flows import Ask
from shieldwall.detection.external.models import GIVEN_UP, SETTLED, WAITING, ReceivedAlert
from shieldwall.detection.external.reading import Item
from shieldwall.detection.external.resolution import Resolution, resolve
from shieldwall.detection.external.schema import ExternalAlert, FieldError
from shieldwall.detection.external.schema import read as read_alert
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

LOOKING_SECONDS = 5.0
"""How long a request may look for devices; what is left is looked for right after it."""
DIGESTS = 100
"""Most contents of one alert that are known again."""
TRIES = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 15, 60, 300, 900, 3600, 3 * 3600, 6 * 3600, *[12 * 3600] * 6)
)
"""How long to wait before each try to find what was not found; four days in all."""
WAITING_TIME = timedelta(days=7)
"""How long late telemetry is waited for at most."""
AT_ONCE = 250
"""Alerts that are looked for together."""

logger = log.get("external_alerts")

Result = Literal["created", "updated", "duplicate", "rejected"]


@dataclass(frozen=True)
class Outcome:
    """What became of one alert."""

    place: str
    result: Result
    format: str = ""
    alert_id: str | None = None
    incident_id: int | None = None
    machine_id: str | None = None
    partner_id: str | None = None
    confidence: int = 0
    error: FieldError | None = None


@dataclass(frozen=True)
class _Found:
    """What was found for an item before anything is written."""

    resolution: Resolution | None
    """None where the time was over."""
    skew: float


class ExternalAlerts:
    """Takes alerts, and goes on looking for what belongs to them."""

    def __init__(
        self, database: Database, store: TelemetryStore, offered: offers.IndicatorOffers, settings: Settings
    ) -> None:
        self._database = database
        self._store = store
        self._offers = offered
        self._window = settings.incident_window

    def take(self, actor: Principal, items: Sequence[Item]) -> list[Outcome]:
        """Keep the alerts among ``items`` in the actor's tenant; the outcomes are durable, in their order."""
        tenant_id = actor.tenant_id
        found = self._look(tenant_id, items)
        for last in (False, True):
            try:
                with self._database.session(tenant_id) as session:
                    outcomes = self._keep(session, tenant_id, items, found)
                    counts = Counter[str](outcome.result for outcome in outcomes)
                    audit.record(session, actor, "alert.external", detail=dict(counts))
                break
            except IntegrityError:
                # The same came at the same moment by another way; now it is there to be found.
                if last:
                    raise
        self._offers.apply_accepted(tenant_id)
        return outcomes

    def retry(self) -> int:
        """Look again for what was not found and is due; how many alerts gained something."""
        due = (
            select(ReceivedAlert.tenant_id, ReceivedAlert.id)
            .where(ReceivedAlert.state == WAITING, ReceivedAlert.next_try <= now())
            .order_by(ReceivedAlert.next_try)
            .limit(AT_ONCE)
        )
        with self._database.system_read() as session:
            rows = session.execute(due).all()
        tenants: dict[str, list[int]] = {}
        for tenant_id, number in rows:
            tenants.setdefault(tenant_id, []).append(number)
        gained = 0
        for tenant_id, numbers in tenants.items():
            try:
                gained += self._retry(tenant_id, numbers)
            except Exception:
                logger.exception("external alerts could not be looked at again", tenant=tenant_id)
                # One by one, so that the one that cannot be looked at holds up no others.
                gained += sum(self._retry_one(tenant_id, number) for number in numbers)
        return gained

    def _retry_one(self, tenant_id: str, number: int) -> int:
        try:
            return self._retry(tenant_id, [number])
        except Exception:
            logger.exception("an external alert could not be looked at again", alert=number)
            with self._database.session(tenant_id) as session:
                if row := session.get(ReceivedAlert, number):
                    _wait(row)
            return 0

    def _look(self, tenant_id: str, items: Sequence[Item]) -> list[_Found]:
        deadline = time.monotonic() + LOOKING_SECONDS
        asked: dict[int, Ask] = {}
        skews = [0.0] * len(items)
        with self._database.read(tenant_id) as session:
            known, clock = _known(session, items), clocks.Clocks(session, tenant_id)
            for number, item in enumerate(items):
                if item.alert is not None:
                    skews[number] = clock.skew(item.alert)
                    row = known.get(identity(item))
                    if row is None or item.digest not in row.digests:
                        asked[number] = Ask(item.alert, skews[number])
            found: dict[int, Resolution] = {}
            for part in parts(list(asked), AT_ONCE):
                if time.monotonic() < deadline:
                    resolved = resolve(session, self._store, tenant_id, [asked[number] for number in part])
                    found |= dict(zip(part, resolved, strict=True))
        return [_Found(found.get(number), skew) for number, skew in enumerate(skews)]

    def _keep(
        self, session: Session, tenant_id: str, items: Sequence[Item], found: Sequence[_Found]
    ) -> list[Outcome]:
        """Write what the items say. New alerts come first, and together: they share most of the work."""
        lock(session, tenant_id)
        rows = _known(session, items)
        first: dict[str, int] = {}
        for number, item in enumerate(items):
            if item.alert is not None and identity(item) not in rows:
                first.setdefault(identity(item), number)
        new = set(first.values())
        offering = offers.Offering(session)
        for row in self._create(session, tenant_id, [(items[n], found[n]) for n in first.values()], offering):
            rows[row.identity] = row
        raised = _alerts(session, [row.alert_id for row in rows.values()])
        outcomes: list[Outcome] = []
        for number, (item, each) in enumerate(zip(items, found, strict=True)):
            if item.alert is None:
                outcomes.append(Outcome(item.place, "rejected", item.format, error=item.error))
                continue
            row = rows[identity(item)]
            ours = raised[row.alert_id]
            result: Result = "created" if number in new else "duplicate"
            if item.digest not in row.digests:
                self._update(session, row, ours, item, item.alert, each, offering)
                result = "updated"
            known = (ours.id, ours.incident_id, ours.machine_id, item.alert.alert_id, row.confidence)
            outcomes.append(Outcome(item.place, result, item.format, *known))
        offering.make()
        return outcomes

    def _create(
        self,
        session: Session,
        tenant_id: str,
        new: Sequence[tuple[Item, _Found]],
        offering: offers.Offering,
    ) -> list[ReceivedAlert]:
        drafts = [
            draft(tenant_id, identity(item), item.alert, each.resolution or Resolution(), each.skew)
            for item, each in new
            if item.alert is not None
        ]
        identifiers = [identifier for identifier, _ in raise_many(session, drafts, self._window)]
        alerts = _alerts(session, identifiers)
        clock = clocks.Clocks(session, tenant_id)
        made = []
        for (item, each), identifier in zip(new, identifiers, strict=True):
            alert, resolution, time = item.alert, each.resolution or Resolution(), now()
            assert alert is not None
            row = ReceivedAlert(
                tenant_id=tenant_id,
                identity=identity(item),
                alert_id=identifier,
                vendor=alert.vendor,
                product=alert.product,
                sensor=alert.sensor,
                partner_id=alert.alert_id,
                format=item.format,
                received_time=time,
                updated_time=time,
                digests=[item.digest],
                body=alert.body(),
                raw=item.raw,
                tries=0,
            )
            _note_resolution(row, alert, resolution)
            if each.resolution is None:
                row.next_try = time
            made.append(row)
            _set_status(session, alerts[identifier], alert.status)
            clock.note(alert, each.resolution)
            offering.note(alert, identifier, other_end(alert, resolution))
        session.add_all(made)
        session.flush()
        return made

    def _update(
        self,
        session: Session,
        row: ReceivedAlert,
        ours: Alert,
        item: Item,
        alert: ExternalAlert,
        found: _Found,
        offering: offers.Offering,
    ) -> None:
        """What the product says now is what holds; what was found stays unless more is found."""
        before = read_alert(row.body, kept=True)
        resolution = found.resolution or Resolution()
        if ours.machine_id is not None and resolution.device_id != ours.machine_id:
            resolution = Resolution(ours.machine_id)
        changed = draft(ours.tenant_id, row.identity, alert, resolution, found.skew)
        ours.title, ours.description = changed.title[:500], changed.description
        ours.severity, ours.category = changed.severity, changed.category
        ours.recommended_action = changed.recommended_action or ours.recommended_action
        ours.threat_name = changed.threat_name or ours.threat_name
        ours.mitre_techniques = list(dict.fromkeys([*ours.mitre_techniques, *changed.mitre_techniques]))
        if alert.event_count != before.event_count:
            ours.event_count = max(ours.event_count, alert.event_count)
        elif (alert.last_time or alert.time) > (before.last_time or before.time):
            ours.event_count += 1
        if alert.status != before.status:
            _set_status(session, ours, alert.status)
        extend_alert(session, ours, changed, self._window)
        row.body, row.raw, row.format = alert.body(), item.raw, item.format
        row.digests = [*row.digests, item.digest][-DIGESTS:]
        row.updated_time = now()
        if resolution.confidence > row.confidence or row.state != SETTLED:
            _note_resolution(row, alert, resolution)
        offering.note(alert, ours.id, other_end(alert, resolution))
        session.flush()

    def _retry(self, tenant_id: str, numbers: Sequence[int]) -> int:
        """Look for waiting alerts together; how many gained something."""
        with self._database.read(tenant_id) as session:
            mine = ReceivedAlert.id.in_(numbers), ReceivedAlert.state == WAITING
            rows = session.scalars(select(ReceivedAlert).where(*mine)).all()
            clock = clocks.Clocks(session, tenant_id)
            alerts = [read_alert(row.body, kept=True) for row in rows]
            asks = [Ask(alert, clock.skew(alert)) for alert in alerts]
            found = resolve(session, self._store, tenant_id, asks)
            known = [(row.id, row.digests) for row in rows]
        return sum(
            self._note_found(tenant_id, number, digests, ask, each)
            for (number, digests), ask, each in zip(known, asks, found, strict=True)
        )

    def _note_found(
        self, tenant_id: str, number: int, digests: Sequence[str], ask: Ask, resolution: Resolution
    ) -> bool:
        alert = ask.alert
        with self._database.session(tenant_id) as session:
            lock(session, tenant_id)
            row = session.get(ReceivedAlert, number, with_for_update=True)
            if row is None or row.state != WAITING:
                return False
            if row.digests != digests:
                # It was updated meanwhile; the next try looks at what it says now.
                _wait(row)
                return False
            ours = session.get_one(Alert, row.alert_id, with_for_update=True)
            other = ours.machine_id is not None and resolution.device_id != ours.machine_id
            more = resolution.device_id is not None and resolution.confidence > row.confidence
            if other or not (more or resolution.whole):
                _wait(row)
                return False
            changed = draft(tenant_id, row.identity, alert, resolution, ask.skew)
            extend_alert(session, ours, changed, self._window)
            _note_resolution(row, alert, resolution)
            clocks.Clocks(session, tenant_id).learn(alert, resolution)
        return True


def identity(item: Item) -> str:
    """The name under which an alert is known again: the product's own, else what it says."""
    alert = item.alert
    if alert is None:
        return ""
    own = f"id\n{alert.alert_id}" if alert.alert_id else f"content\n{item.digest}"
    return hashlib.sha256(f"{alert.vendor}\n{alert.product}\n{own}".encode()).hexdigest()


def _known(session: Session, items: Sequence[Item]) -> dict[str, ReceivedAlert]:
    names = {identity(item) for item in items if item.alert is not None}
    rows = session.scalars(select(ReceivedAlert).where(ReceivedAlert.identity.in_(names)))
    return {row.identity: row for row in rows}


def _alerts(session: Session, identifiers: Sequence[str]) -> dict[str, Alert]:
    """Alerts by id, in one statement, without what belongs to them."""
    wanted = select(Alert).where(Alert.id.in_(identifiers)).options(lazyload("*"))
    return {alert.id: alert for alert in session.scalars(wanted)}


def _note_resolution(row: ReceivedAlert, alert: ExternalAlert, found: Resolution) -> None:
    row.confidence, row.resolution = found.confidence, found.body()
    if found.whole:
        row.state, row.next_try, row.wanted = SETTLED, None, []
        return
    row.wanted = other_end(alert, found)
    _wait(row)


def _wait(row: ReceivedAlert) -> None:
    """Try again later, or no more."""
    if row.tries >= len(TRIES) or now() - row.received_time > WAITING_TIME:
        row.state, row.next_try = GIVEN_UP, None
        return
    row.state, row.next_try = WAITING, now() + TRIES[row.tries]
    row.tries += 1


def _set_status(session: Session, ours: Alert, status: str) -> None:
    """The product's status; analysts' changes stay until it says something else than before."""
    if ours.status == status:
        return
    ours.status = status
    ours.resolved_time = (ours.resolved_time or now()) if status == "Resolved" else None
    if ours.machine_id:
        update_risk(session, [ours.machine_id])
