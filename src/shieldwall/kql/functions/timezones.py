"""Dates in other time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import SECOND, dynamic_text
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.local import LocalFunction
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import DAY, Value, constant, from_ticks, made, ticks_of

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _offset(ticks: int, zone: str) -> int | None:
    """How far a zone is ahead of UTC then, in ticks; None if there is no such zone or time."""
    from zoneinfo import ZoneInfo

    try:
        moment = _EPOCH + timedelta(seconds=ticks // SECOND)
        offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
    except (ValueError, OverflowError, OSError, LookupError):
        return None
    return None if offset is None else (offset.days * 86400 + offset.seconds) * SECOND


def to_local(ticks: int | None, zone: str | None) -> int | None:
    if ticks is None or (offset := _offset(ticks, zone or "")) is None:
        return None
    return ticks + offset


def to_utc(ticks: int | None, zone: str | None) -> int | None:
    """A time that a change of clocks leaves out, or has twice, is one after the change."""
    if ticks is None:
        return None
    around = [_offset(ticks + shift, zone or "") for shift in (-DAY, DAY)]
    known = [offset for offset in around if offset is not None]
    if not known or (offset := _offset(ticks - min(known), zone or "")) is None:
        return None
    return ticks - offset


def _shown(ticks: str, zone: str) -> str:
    """SQL of how far a zone is ahead of UTC, in ticks."""
    return f"timezoneOffset(toTimeZone({from_ticks(ticks)}, {zone})) * {SECOND}"


_WORK: dict[str, Any] = {"datetime_utc_to_local": to_local, "datetime_local_to_utc": to_utc}


@coded(*_WORK)
def to_zone(binder: Binder, call: Call, args: list[Value]) -> Value:
    date, zone = bound(binder, call, 2)
    date, zone = coerce(date, "datetime", call, 0), coerce(zone, "string", call, 1)
    if date.is_constant or not isinstance(zone.constant, str):
        function = LocalFunction(call.name, "datetime", _WORK[call.name])
        return binder.local.call(function, [date, zone])
    if _offset(0, zone.constant) is None:
        raise KqlError(f"{call.name}(): '{zone.constant}' is no time zone.", call.at, "SEM0240")
    name, ticks = sql.quote(zone.constant), ticks_of(date.sql)
    if call.name == "datetime_utc_to_local":
        return made("datetime", from_ticks(f"{ticks} + {_shown(ticks, name)}"), date)
    least = f"least({_shown(f'{ticks} - {DAY}', name)}, {_shown(f'{ticks} + {DAY}', name)})"
    return made("datetime", from_ticks(f"{ticks} - {_shown(f'{ticks} - {least}', name)}"), date)


@coded("datetime_list_timezones")
def datetime_list_timezones(binder: Binder, call: Call, args: list[Value]) -> Value:
    from zoneinfo import available_timezones

    bound(binder, call, 0)
    return constant("dynamic", dynamic_text(sorted(available_timezones())))
