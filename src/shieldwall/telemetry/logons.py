"""Who logged on to a device, and which devices had an address, as their stored events tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shieldwall.telemetry.store import TelemetryStore

ACCOUNTS_LIMIT = 1000
REPORTS = timedelta(hours=25)
"""Adapters are reported at every change, and hourly; an older report tells of a device that was away."""

_LOGONS = f"""
SELECT AccountDomain AS domain, AccountName AS name, any(AccountSid) AS sid,
       groupUniqArray(20)(LogonType) AS types, min(Timestamp) AS first, max(Timestamp) AS last
FROM DeviceLogonEvents
WHERE DeviceId = {{device:String}} AND AccountName != '' AND ActionType != 'LogonFailed'
  AND Timestamp >= now64(7) - toIntervalDay(30)
GROUP BY AccountDomain, AccountName ORDER BY last DESC, domain, name LIMIT {ACCOUNTS_LIMIT}
"""
_ADAPTERS = """
SELECT DeviceId AS device, max(position(addresses, {quoted:String}) > 0) AS has FROM (
  SELECT DeviceId, MacAddress, argMax(IPAddresses, Timestamp) AS addresses FROM DeviceNetworkInfo
  WHERE Timestamp BETWEEN {since:DateTime64(7)} AND {until:DateTime64(7)} GROUP BY DeviceId, MacAddress
) GROUP BY device LIMIT 100000
"""


@dataclass(frozen=True)
class Logons:
    """One account's logons on one device within 30 days."""

    domain: str
    name: str
    sid: str
    types: list[str]
    first: datetime
    last: datetime


def logons(store: TelemetryStore, tenant_id: str, device_id: str) -> list[Logons]:
    """The accounts that logged on, the latest first."""
    rows = store.query(tenant_id, _LOGONS, {"device": device_id})
    return [
        Logons(
            row["domain"],
            row["name"],
            row["sid"],
            sorted(filter(None, row["types"])),
            row["first"],
            row["last"],
        )
        for row in rows
    ]


def addressed(
    store: TelemetryStore, tenant_id: str, address: str, moment: datetime, window: timedelta
) -> dict[str, bool]:
    """For each device that reported its adapters by then: whether the address was one of theirs."""
    rows = store.query(
        tenant_id,
        _ADAPTERS,
        {
            "quoted": f'"{address}"',
            "since": (moment - REPORTS).astimezone(UTC).replace(tzinfo=None),
            "until": (moment + window).astimezone(UTC).replace(tzinfo=None),
        },
    )
    return {row["device"]: bool(row["has"]) for row in rows}
