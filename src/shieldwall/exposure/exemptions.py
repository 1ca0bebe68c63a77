"""Exceptions from security baselines: settings that devices need not keep to for some time, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shieldwall.errors import ApiError, bad_request
from shieldwall.exposure.assessments import BASELINE_CONFIGURATIONS
from shieldwall.exposure.labels import read_labels
from shieldwall.exposure.models import BaselineException
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state import scope
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

CONFIGURATIONS_LIMIT = 200
DEVICES_LIMIT = 1000
EXCEPTIONS_LIMIT = 200
"""Most exceptions of a tenant: all of them are looked at for each row of the assessment."""


def check_reach() -> None:
    """ApiError 403 for a caller who is limited to device groups: an exception may be for any device."""
    if scope.current() is not None:
        raise ApiError(403, "Forbidden", "Only who may see every device can make exceptions from baselines.")


def create(
    session: Session,
    actor: Principal,
    configurations: Sequence[Mapping[str, Any]],
    devices: Sequence[str],
    values: Mapping[str, Any],
) -> BaselineException:
    """An exception of `known` configurations for ``devices``, for all of them where none is named.

    ApiError 400 for devices that there are not, and for one exception too many.
    """
    if (session.scalar(select(func.count()).select_from(BaselineException)) or 0) >= EXCEPTIONS_LIMIT:
        raise bad_request(f"A tenant has at most {EXCEPTIONS_LIMIT} exceptions.")
    devices = list(dict.fromkeys(devices))
    if lost := set(devices) - read_labels(session, devices).keys():
        raise bad_request(f"There is no device {min(lost)[:100]!r}.", "InvalidInput")
    first, time = configurations[0], now()
    row = BaselineException(
        id=str(uuid4()),
        benchmark_name=first["benchmarkName"],
        benchmark_version=first["benchmarkVersion"],
        configurations=[{"id": each["id"], "name": each["name"]} for each in configurations],
        devices=devices,
        created_on=time,
        requester=_who(actor),
        last_modified_on=time,
        last_modified_by=_who(actor),
        **values,
    )
    session.add(row)
    detail = {"configurations": [each["id"] for each in configurations], "devices": len(devices)}
    audit.record(session, actor, "baseline.except", row.id, detail=detail)
    return row


def change(session: Session, actor: Principal, row: BaselineException, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.last_modified_on = now()
    row.last_modified_by = _who(actor)
    audit.record(session, actor, "baseline.except.change", row.id, detail={"changed": sorted(values)})


def remove(session: Session, actor: Principal, row: BaselineException) -> None:
    audit.record(session, actor, "baseline.except.remove", row.id)
    session.delete(row)


def is_active(row: BaselineException, moment: datetime) -> bool:
    return row.due_date > moment


def exemptions(session: Session) -> list[tuple[list[str], list[str]]]:
    """What is in force, as the parameter ``exemptions`` of assessments: configurations, devices or none."""
    rows = session.scalars(select(BaselineException).where(BaselineException.due_date > now()))
    return [([each["id"] for each in row.configurations], list(row.devices)) for row in rows]


def known(store: TelemetryStore, tenant_id: str, wanted: Sequence[str]) -> list[Mapping[str, Any]]:
    """The configurations with these ids, in the order in which they are named; ApiError 400 for another."""
    rows = store.query(
        tenant_id,
        f"SELECT id, name, benchmarkName, benchmarkVersion FROM ({BASELINE_CONFIGURATIONS}) "
        "WHERE id IN {wanted:Array(String)}",
        {"until": now().strftime("%Y-%m-%d %H:%M:%S.%f"), "wanted": list(wanted)},
    )
    by_id = {row["id"]: row for row in rows}
    for identifier in wanted:
        if identifier not in by_id:
            raise bad_request(f"No baseline has a configuration {identifier[:100]!r}.", "InvalidInput")
    return [by_id[identifier] for identifier in dict.fromkeys(wanted)]


def _who(actor: Principal) -> dict[str, str]:
    return {"id": actor.actor, "displayName": actor.name or actor.actor}
