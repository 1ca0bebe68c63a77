"""The indicator list: adding, changing, removing and expiring, each change with its place in the order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from shieldwall.detection.delta import IndicatorDelta, delta_since
from shieldwall.detection.models import Indicator, IndicatorChange
from shieldwall.detection.ownership import check_change, check_groups, within_reach
from shieldwall.detection.values import NETWORK_TYPES, TYPES, match_value
from shieldwall.errors import ApiError, bad_request, missing_parameter, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.times import now, parse, to_text
from shieldwall.wakeups import Wakeups

ACTIONS = ("Allowed", "Audit", "Warn", "Block", "BlockAndRemediate")
LEGACY_ACTIONS = {"alert": "Audit", "alertandblock": "BlockAndRemediate"}
SEVERITIES = ("Informational", "Low", "Medium", "High")
BATCH_LIMIT = 500
EXPIRED_AT_ONCE = 1000

_TEXTS = {
    "application": ("application", 300),
    "description": ("description", 10_000),
    "recommendedActions": ("recommended_actions", 10_000),
    "educateUrl": ("educate_url", 2048),
    "externalId": ("external_id", 300),
}


class IndicatorService:
    """Changes the list. Every change wakes the tenant's agents once it is committed.

    An actor with Ti.ReadWrite alone changes and removes its own indicators only.
    """

    def __init__(self, database: Database, wakeups: Wakeups, settings: Settings) -> None:
        self._database = database
        self._wakeups = wakeups
        self._most = settings.indicators_per_tenant

    def create_or_update(self, tenant_id: str, actor: Principal, body: Mapping[str, Any]) -> Indicator:
        """Put one indicator on the list; a value that is there already is changed and keeps its id.

        ApiError 403 when it is another's.
        """
        with self._database.session(tenant_id) as session:
            indicator = self._put(session, tenant_id, actor, body)
        self._wakeups.notify(tenant_id)
        return indicator

    def import_many(
        self, tenant_id: str, actor: Principal, bodies: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Put up to 500 on the list, each with its own outcome."""
        _bounded(len(bodies))
        results = []
        with self._database.session(tenant_id) as session:
            for body in bodies:
                value = str(body.get("indicatorValue", ""))[:2048]
                try:
                    with session.begin_nested():
                        number = str(self._put(session, tenant_id, actor, body).id)
                    results.append(
                        {"id": number, "indicator": value, "isFailed": False, "failureReason": None}
                    )
                except ApiError as error:
                    results.append(
                        {"id": None, "indicator": value, "isFailed": True, "failureReason": error.message}
                    )
        self._wakeups.notify(tenant_id)
        return results

    def update_many(
        self, tenant_id: str, actor: Principal, changes: Sequence[tuple[int | None, Mapping[str, Any]]]
    ) -> list[Indicator]:
        """Change up to 500 that are on the list, all of them or none; what is not given stays as it is.

        Each is named by its number, or where that is None by its type and value. ApiError 404 when one is not
        there or is another's, 400 when it would become another one.
        """
        _bounded(len(changes))
        with self._database.session(tenant_id) as session:
            rows = []
            for number, body in changes:
                row = self._named(session, actor, number, body)
                rows.append(self._put(session, tenant_id, actor, {**_body_of(row), **body}))
                if rows[-1].id != row.id:
                    raise bad_request("Type and value of an indicator cannot be changed.", "InvalidInput")
        self._wakeups.notify(tenant_id)
        return rows

    def get(self, tenant_id: str, number: int) -> Indicator:
        with self._database.read(tenant_id) as session:
            found = session.get(Indicator, number)
        if found is None:
            raise not_found("Indicator", str(number))
        return found

    def delete(self, tenant_id: str, actor: Principal, number: int) -> None:
        """Take one off the list; ApiError 404 when it is not there."""
        self.delete_many(tenant_id, actor, [number])

    def delete_many(self, tenant_id: str, actor: Principal, numbers: Sequence[int]) -> None:
        """Take up to 500 off the list, all or none; ApiError 404 when one is not there or is another's."""
        _bounded(len(numbers))
        with self._database.session(tenant_id) as session:
            mine = select(Indicator).where(Indicator.id.in_(numbers), *within_reach(actor))
            found = session.scalars(mine).all()
            if missing := set(numbers) - {indicator.id for indicator in found}:
                raise not_found("Indicator", str(min(missing)))
            for indicator in found:
                detail = {"type": indicator.indicator_type, "value": indicator.indicator_value}
                audit.record(session, actor, "indicator.delete", str(indicator.id), detail=detail)
            _remove(session, tenant_id, [indicator.id for indicator in found])
        self._wakeups.notify(tenant_id)

    def expire(self) -> int:
        """Take off the lists what has reached its end; how many."""
        due = select(Indicator.id, Indicator.tenant_id).where(Indicator.expiration_time <= now())
        with self._database.system_read() as session:
            rows = session.execute(due.limit(EXPIRED_AT_ONCE)).all()
        tenants: dict[str, list[int]] = {}
        for number, tenant_id in rows:
            tenants.setdefault(tenant_id, []).append(number)
        for tenant_id, numbers in tenants.items():
            with self._database.session(tenant_id) as session:
                still = session.scalars(
                    due.with_only_columns(Indicator.id).where(Indicator.id.in_(numbers))
                ).all()
                _remove(session, tenant_id, still)
                audit.record(session, "system", "indicator.expire", detail={"count": len(still)})
            self._wakeups.notify(tenant_id)
        return len(rows)

    def changes_since(
        self, session: Session, tenant_id: str, revision: int, device_group: str
    ) -> IndicatorDelta | None:
        """What an agent that has ``revision`` lacks; None when it is up to date."""
        return delta_since(session, tenant_id, revision, device_group)

    def _named(
        self, session: Session, actor: Principal, number: int | None, body: Mapping[str, Any]
    ) -> Indicator:
        if number is None:
            for name in ("indicatorValue", "indicatorType"):
                if not body.get(name):
                    raise missing_parameter(name)
            kind = _choice(body, "indicatorType", TYPES)
            value = match_value(kind, str(body["indicatorValue"]).strip())
            same = [Indicator.indicator_type == kind, Indicator.match_value == value]
        else:
            same = [Indicator.id == number]
        row = session.scalar(select(Indicator).where(*same, *within_reach(actor)))
        if row is None:
            raise not_found("Indicator", str(number or body["indicatorValue"])[:100])
        return row

    def _put(self, session: Session, tenant_id: str, actor: Principal, body: Mapping[str, Any]) -> Indicator:
        values = _read(body)
        time = now()
        name = actor.name or actor.application_id
        found = session.scalar(
            select(Indicator).where(
                Indicator.indicator_type == values["indicator_type"],
                Indicator.match_value == values["match_value"],
            )
        )
        check_groups(actor, values["rbac_group_names"])
        if found is None:
            self._check_capacity(session)
            found = Indicator(
                tenant_id=tenant_id,
                creation_time=time,
                created_by=actor.actor,
                created_by_display_name=name,
                source=name,
                source_type="User" if actor.user_id else "AadApp",
            )
            session.add(found)
        else:
            check_change(actor, found)
            check_groups(actor, found.rbac_group_names)
            # Who an indicator belongs to stays as it was when it was made.
            values["application"] = found.application
        for key, value in values.items():
            setattr(found, key, value)
        found.last_update_time = time
        found.last_updated_by = actor.actor
        session.flush()
        session.add(IndicatorChange(tenant_id=tenant_id, indicator_id=found.id))
        detail = {"type": found.indicator_type, "value": found.indicator_value, "action": found.action}
        audit.record(session, actor, "indicator.put", str(found.id), detail=detail)
        return found

    def _check_capacity(self, session: Session) -> None:
        if (session.scalar(select(func.count()).select_from(Indicator)) or 0) >= self._most:
            raise bad_request(f"Max capacity exceeded: a tenant has at most {self._most} indicators.")


def _remove(session: Session, tenant_id: str, numbers: Iterable[int]) -> None:
    numbers = list(numbers)
    session.add_all(
        IndicatorChange(tenant_id=tenant_id, indicator_id=number, deleted=True) for number in numbers
    )
    # One deleted row for each is enough for agents: what was said of them before is void.
    session.flush()
    session.execute(
        delete(IndicatorChange).where(
            IndicatorChange.tenant_id == tenant_id,
            IndicatorChange.indicator_id.in_(numbers),
            IndicatorChange.deleted.is_(False),
        )
    )
    session.execute(delete(Indicator).where(Indicator.tenant_id == tenant_id, Indicator.id.in_(numbers)))


def _read(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request's properties as columns; ApiError 400 says what is wrong."""
    for name in ("indicatorValue", "indicatorType", "action", "title"):
        if not body.get(name):
            raise missing_parameter(name)
    kind = _choice(body, "indicatorType", TYPES)
    value = str(body["indicatorValue"]).strip()
    action, alert = _action(body, kind)
    columns: dict[str, Any] = {
        "indicator_type": kind,
        "indicator_value": value,
        "match_value": match_value(kind, value),
        "action": action,
        "generate_alert": alert,
        "title": _text(body, "title", 500),
        "severity": _choice(body, "severity", SEVERITIES) if body.get("severity") else "Informational",
        "expiration_time": _expiration(body),
        "rbac_group_names": _texts(body, "rbacGroupNames"),
        "mitre_techniques": _texts(body, "mitreTechniques"),
        "category": body["category"] if isinstance(body.get("category"), int) else None,
        "historical_detection": body.get("historicalDetection") is True,
    }
    hours = body.get("bypassDurationHours")
    columns["bypass_duration_hours"] = hours if isinstance(hours, int) else None
    for name, (column, limit) in _TEXTS.items():
        columns[column] = _text(body, name, limit) if body.get(name) is not None else None
    columns["description"] = columns["description"] or ""
    return columns


def _body_of(row: Indicator) -> dict[str, Any]:
    """A request that would put the indicator on the list as it is."""
    texts = {name: getattr(row, column) for name, (column, _) in _TEXTS.items()}
    return {
        **{name: value for name, value in texts.items() if value is not None},
        "indicatorType": row.indicator_type,
        "indicatorValue": row.indicator_value,
        "action": row.action,
        "generateAlert": row.generate_alert,
        "title": row.title,
        "severity": row.severity,
        "expirationTime": None if row.expiration_time is None else to_text(row.expiration_time),
        "rbacGroupNames": row.rbac_group_names,
        "mitreTechniques": row.mitre_techniques,
        "category": row.category,
        "historicalDetection": row.historical_detection,
        "bypassDurationHours": row.bypass_duration_hours,
    }


def _action(body: Mapping[str, Any], kind: str) -> tuple[str, bool]:
    """The action in today's words, and whether it alerts."""
    alert = body.get("generateAlert") in (True, "true", "True")
    legacy = LEGACY_ACTIONS.get(str(body["action"]).lower())
    action = legacy or _choice(body, "action", ACTIONS)
    if kind in NETWORK_TYPES and action == "BlockAndRemediate":
        action = "Block"  # there is nothing on a device to remediate
    if kind == "CertificateThumbprint" and action not in ("Allowed", "BlockAndRemediate", "Audit"):
        raise bad_request("A certificate can be Allowed or BlockAndRemediate.", "InvalidInput")
    return action, alert or legacy is not None or action == "Audit"


def _expiration(body: Mapping[str, Any]) -> datetime | None:
    value = body.get("expirationTime")
    if value in (None, ""):
        return None
    try:
        time = parse(str(value))
    except ValueError:
        raise bad_request("expirationTime is not a date and time.", "InvalidInput") from None
    if time <= now():
        raise bad_request("expirationTime lies in the past.", "InvalidInput")
    return time


def _choice(body: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str:
    wanted = str(body[name]).lower()
    for choice in allowed:
        if choice.lower() == wanted:
            return choice
    raise bad_request(f"{name} must be one of {', '.join(allowed)}.", "InvalidInput")


def _text(body: Mapping[str, Any], name: str, limit: int) -> str:
    value = body[name]
    if not isinstance(value, str) or len(value) > limit or "\x00" in value:
        raise bad_request(f"{name} must be a text of at most {limit} characters.", "InvalidRequestBody")
    return value


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    values = body.get(name) or []
    if not isinstance(values, list) or len(values) > 200:
        raise bad_request(f"{name} must be a list of texts.", "InvalidRequestBody")
    return [_text({name: value}, name, 200) for value in values]


def _bounded(count: int) -> None:
    if count > BATCH_LIMIT:
        raise bad_request(
            f"The batch has {count} items, {BATCH_LIMIT} are allowed.", "MaximumBatchSizeExceeded"
        )
