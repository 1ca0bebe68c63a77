"""What becomes of the rows that rules found: alerts, repeats of alerts, nothing where a tenant said so, and
the actions that the tenant wants taken.

All hits of a continuous rule that show the same on a device and a day are one alert, as with indicators.
Hits of a scheduled rule are one alert for each event. What two alerts would have to differ in is what the
rule puts into them: entities, details, and the columns that its texts name.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft, alert_id
from shieldwall.alerts.evidence import EVIDENCE_LIMIT
from shieldwall.alerts.models import Alert
from shieldwall.alerts.raising import raise_many
from shieldwall.detection.event_entities import links
from shieldwall.detection.rules import templates
from shieldwall.detection.rules.models import RuleResponse, RuleSuppression
from shieldwall.detection.rules.row_entities import EventRow, evidence_of
from shieldwall.detection.rules.rule import CONTINUOUS, Rule, RuleHit
from shieldwall.detection.rules.rule_set import ActiveRule, Key, RuleSet
from shieldwall.detection.rules.runs import note_continuous
from shieldwall.devices.models import Device
from shieldwall.times import now, to_text

ALERTS_PER_RUN = 150
"""Most new alerts of one rule in one run; what is over is counted and told with the run."""
KINDS_PER_RUN = 5000
"""Most different alerts that one run holds in memory to choose from."""
DETAILS_BYTES = 4096
"""Most of an alert's custom details; larger ones are left out altogether."""
RESPONSES_PER_ALERT = 50
IDS_AT_ONCE = 500


@dataclass
class Outcome:
    """Of the rows that one rule found: how many there were, and what they came to. See ``models.RuleRun``."""

    rows: int = 0
    alerts: int = 0
    repeated: int = 0
    suppressed: int = 0
    over_limit: int = 0


@dataclass
class _Gathered:
    """The rows of one alert to be."""

    draft: AlertDraft
    details: dict[str, str] | None
    evidence: dict[EvidenceDraft, None] = field(default_factory=dict)
    links: set[Any] = field(default_factory=set)
    targets: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Kind and target of what is to be done, with what more belongs to it."""


def raise_rule_alerts(
    session: Session, hits: Iterable[RuleHit], rules: RuleSet, incident_window: int
) -> dict[Key, Outcome]:
    """Raise what hits of continuous rules in one stored group call for, and count it in their records.

    ``session`` is a system session, ``incident_window`` is in seconds. Hits of rules that are no longer
    there, are off, or do not reach the device, are nothing.
    """
    outcomes = raise_hits(session, hits, rules, incident_window, now())
    note_continuous(session, {key: vars(outcome) for key, outcome in outcomes.items()})
    return outcomes


def raise_hits(
    session: Session,
    hits: Iterable[RuleHit],
    rules: RuleSet,
    incident_window: int,
    window_end: datetime,
    *,
    limited: bool = False,
) -> dict[Key, Outcome]:
    """The same without a record. ``window_end`` is the time of rows that have none of their own.

    ``limited``: the query read rows of the rule's device groups only, so one that is of no device may pass.
    """
    outcomes: dict[Key, Outcome] = {}
    gathered: dict[Key, dict[str, _Gathered]] = {}
    suppressed: dict[int, int] = {}
    devices = _Devices(session)
    found: dict[Key, ActiveRule | None] = {}
    for hit in hits:
        key = (hit.tenant_id, hit.rule_id)
        if key not in found:
            found[key] = rules.find(*key)
        active = found[key]
        if active is None:
            continue
        row = EventRow(hit.row)
        device_id = devices.of_row(active, row)
        group = devices.group(active, device_id, row)
        within = active.tuning.device_groups
        if within is not None and group not in within and not (limited and device_id is None):
            continue
        outcome = outcomes.setdefault(key, Outcome())
        outcome.rows += 1
        at = now()
        covering = next((item for item in active.suppressions if item.covers(hit.row, group, at)), None)
        if covering is not None:
            outcome.suppressed += 1
            suppressed[covering.id] = suppressed.get(covering.id, 0) + 1
            continue
        if not _gather(gathered.setdefault(key, {}), active, hit.table, row, device_id, window_end):
            outcome.over_limit += 1
    _raise(session, gathered, rules, outcomes, incident_window)
    for number, count in suppressed.items():
        session.execute(
            update(RuleSuppression)
            .where(RuleSuppression.id == number)
            .values(hits=RuleSuppression.hits + count)
        )
    return outcomes


def _gather(
    kinds: dict[str, _Gathered],
    active: ActiveRule,
    table: str,
    row: EventRow,
    device_id: str | None,
    window_end: datetime,
) -> bool:
    """Put a row to those of its alert; False when there are too many alerts to hold."""
    rule = active.rule
    time = row.time("Timestamp") or window_end
    details = {name: templates.plain(row.get(column)) for name, column in rule.details.items()}
    name = f"{device_id} {alert_key(rule, row, details, time)}"
    one = kinds.get(name)
    if one is None:
        if len(kinds) >= KINDS_PER_RUN:
            return False
        draft = _draft(active, row, device_id, name, time)
        small = len(json.dumps(details, ensure_ascii=False).encode()) <= DETAILS_BYTES
        one = kinds[name] = _Gathered(draft, details if details and small else None)
    else:
        first, last = min(one.draft.first_event_time, time), max(one.draft.last_event_time, time)
        one.draft = replace(
            one.draft, first_event_time=first, last_event_time=last, events=one.draft.events + 1
        )
    if len(one.evidence) < EVIDENCE_LIMIT:
        entities = evidence_of(rule, table, row)
        one.evidence.update(dict.fromkeys(entities))
        one.links.update(links({**row, "DeviceId": device_id or ""}, entities))
    _add_targets(one, active, row, device_id)
    return True


def alert_key(rule: Rule, row: EventRow, details: Mapping[str, str], time: datetime) -> str:
    """What is the same for rows of one device that are one alert."""
    shown = {column: templates.plain(row.get(column)) for column in _shown(rule)}
    if rule.period == CONTINUOUS:
        event = f"{time:%Y-%m-%d}"
    elif row.get("ReportId") not in (None, "") and row.time("Timestamp"):
        event = f"{to_text(time)} {row.get('ReportId')}"
    else:
        event = f"{time:%Y-%m-%d}"
    told = json.dumps([shown, dict(details), event], sort_keys=True, ensure_ascii=False)
    return f"rule {rule.id} {hashlib.sha256(told.encode(errors='replace')).hexdigest()[:32]}"


def _shown(rule: Rule) -> list[str]:
    """The columns whose values an alert of the rule shows, besides its details."""
    named = [*templates.columns(rule.title), *templates.columns(rule.description)]
    return sorted({*named, *rule.entities.values()})


def _draft(active: ActiveRule, row: EventRow, device_id: str | None, key: str, time: datetime) -> AlertDraft:
    rule = active.rule
    return AlertDraft(
        tenant_id=active.tenant_id,
        device_id=device_id,
        key=key,
        title=templates.filled(rule.title, row)[:500],
        description=templates.filled(rule.description, row),
        severity=rule.severity,
        category=rule.category,
        detection_source="WindowsDefenderAtp" if rule.source == "BuiltIn" else "CustomDetection",
        detector_id=rule.id,
        recommended_action=rule.recommended_action or None,
        mitre_techniques=tuple(rule.techniques),
        first_event_time=time,
        last_event_time=time,
        evidence=(),
    )


def _add_targets(one: _Gathered, active: ActiveRule, row: EventRow, device_id: str | None) -> None:
    for action in active.tuning.actions:
        target = templates.plain(row.get(action.column)).lower() if action.on_file else device_id
        if not target or len(one.targets) >= RESPONSES_PER_ALERT:
            continue
        on_file = action.kind in ("BlockFile", "AllowFile")
        if not on_file and device_id is None:
            continue
        if action.on_file and not _is_hash(target):
            continue
        parameters = action.written()
        if on_file and active.tuning.device_groups is not None and not action.device_groups:
            # What the rule does reaches no further than what it sees.
            parameters["device_groups"] = sorted(active.tuning.device_groups)
        one.targets.setdefault((action.kind, target), parameters)


def _raise(
    session: Session,
    gathered: Mapping[Key, Mapping[str, _Gathered]],
    rules: RuleSet,
    outcomes: Mapping[Key, Outcome],
    incident_window: int,
) -> None:
    """Raise the alerts of all rules together, of each rule no more new ones than may be."""
    kept: list[tuple[Key, _Gathered, AlertDraft]] = []
    made = [
        (key, one, replace(one.draft, evidence=tuple(one.evidence), links=frozenset(one.links)))
        for key, kinds in gathered.items()
        for one in sorted(kinds.values(), key=lambda item: item.draft.first_event_time)
    ]
    present = _present(session, [alert_id(draft) for _, _, draft in made])
    fresh: Counter[Key] = Counter()
    for key, one, draft in made:
        if alert_id(draft) not in present:
            fresh[key] += 1
            if fresh[key] > ALERTS_PER_RUN:
                outcomes[key].over_limit += draft.events
                continue
        kept.append((key, one, draft))
    raised = raise_many(session, [draft for _, _, draft in kept], incident_window)
    details: list[dict[str, Any]] = []
    for (key, one, draft), (identifier, new) in zip(kept, raised, strict=True):
        if new:
            outcomes[key].alerts += 1
            details += [{"id": identifier, "custom_details": one.details}] if one.details else []
        else:
            outcomes[key].repeated += draft.events
        if one.targets and (active := rules.find(*key)) is not None:
            _ask(session, active, session.get_one(Alert, identifier), one)
    if details:
        session.execute(update(Alert), details)


def _present(session: Session, identifiers: Sequence[str]) -> set[str]:
    """Which of these alerts are there already."""
    found: set[str] = set()
    for start in range(0, len(identifiers), IDS_AT_ONCE):
        wanted = Alert.id.in_(identifiers[start : start + IDS_AT_ONCE])
        found.update(session.scalars(select(Alert.id).where(wanted)))
    return found


def _ask(session: Session, active: ActiveRule, alert: Alert, one: _Gathered) -> None:
    """Write down what is to be done because of an alert; the same is not asked for twice."""
    wanted = select(RuleResponse.kind, RuleResponse.target).where(RuleResponse.alert_id == alert.id)
    present = {(kind, target) for kind, target in session.execute(wanted)}
    for (kind, target), parameters in one.targets.items():
        if (kind, target) not in present:
            session.add(
                RuleResponse(
                    tenant_id=active.tenant_id,
                    rule_id=active.rule.id,
                    alert_id=alert.id,
                    kind=kind,
                    target=target,
                    device_id=alert.machine_id or "",
                    parameters=dict(parameters),
                    created_time=now(),
                    requested_by=active.tuning.by,
                )
            )


def _is_hash(text: str) -> bool:
    return len(text) in (40, 64) and all(letter in "0123456789abcdef" for letter in text)


class _Devices:
    """Which device a row is of, and its group; asked once for each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: dict[tuple[str, str], str | None] = {}
        self._groups: dict[tuple[str, str], str] = {}

    def of_row(self, active: ActiveRule, row: EventRow) -> str | None:
        """The id of the device that the alert is of; None when the row tells of none that is known."""
        chosen = active.rule.entities.get("Device")
        for column in (chosen,) if chosen else ("DeviceId", "DeviceName"):
            value = templates.plain(row.get(column))
            if not value:
                continue
            if column == "DeviceId" or _is_hash(value):
                return value[:40]
            return self._by_name(active.tenant_id, value)
        return None

    def group(self, active: ActiveRule, device_id: str | None, row: EventRow) -> str:
        """The name of the group of a row's device, empty for none."""
        told = row.get("MachineGroup")
        # The row tells it of the device where it happened, which need not be the one that the rule means.
        if isinstance(told, str) and active.rule.entities.get("Device", "DeviceId") == "DeviceId":
            return told
        if device_id is None:
            return ""
        key = (active.tenant_id, device_id)
        if key not in self._groups:
            device = self._session.get(Device, device_id)
            mine = device is not None and device.tenant_id == active.tenant_id
            self._groups[key] = device.group.name if device and mine and device.group else ""
        return self._groups[key]

    def _by_name(self, tenant_id: str, name: str) -> str | None:
        key = (tenant_id, name.lower())
        if key not in self._names:
            wanted = select(Device.id).where(
                Device.tenant_id == tenant_id, Device.computer_dns_name == name, Device.revoked.is_(False)
            )
            self._names[key] = self._session.scalar(wanted.order_by(Device.last_contact.desc()).limit(1))
        return self._names[key]
