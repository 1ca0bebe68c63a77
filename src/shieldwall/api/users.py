"""Users as an alert names them, with what the stored logons tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.api.answers import Entity
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import to_text

_LOGONS = """
SELECT DeviceId AS device, count() AS logons, groupUniqArray(20)(LogonType) AS types,
       min(Timestamp) AS first, max(Timestamp) AS last
FROM DeviceLogonEvents
WHERE AccountName = {name:String} AND ({domain:String} = '' OR AccountDomain = {domain:String})
GROUP BY DeviceId ORDER BY logons DESC, device LIMIT 10000
"""


@dataclass(frozen=True)
class Account:
    """Who an alert is about; ``domain`` and ``sid`` are empty where nothing tells them."""

    name: str
    domain: str
    sid: str


def account(row: Alert, evidence: Sequence[Evidence]) -> Account | None:
    """The related user of an alert, else the first user in its evidence."""
    related: dict[str, Any] = row.related_user or {}
    users = [item for item in evidence if item.entity_type == "User" and item.account_name]
    name = related.get("userName") or (users[0].account_name if users else None)
    if not name:
        return None
    found = next((item for item in users if item.account_name == name), None)
    domain = related.get("domainName") or (found.domain_name if found else None)
    return Account(name, domain or "", (found.user_sid if found else None) or "")


def user(store: TelemetryStore, row: Alert, who: Account) -> Entity:
    """A user; without a stored logon, the times are the alert's and the device its own."""
    logons = store.query(row.tenant_id, _LOGONS, {"name": who.name, "domain": who.domain})
    types = sorted({kind for each in logons for kind in each["types"] if kind})
    first = [each["first"] for each in logons] or [row.first_event_time or row.alert_creation_time]
    last = [each["last"] for each in logons] or [row.last_event_time or row.alert_creation_time]
    return {
        "id": f"{who.domain}\\{who.name}" if who.domain else who.name,
        "accountName": who.name,
        "accountDomain": who.domain or None,
        "accountSid": who.sid or None,
        "firstSeen": _whole_seconds(min(first)),
        "lastSeen": _whole_seconds(max(last)),
        "mostPrevalentMachineId": logons[0]["device"] if logons else row.machine_id,
        "leastPrevalentMachineId": logons[-1]["device"] if logons else row.machine_id,
        "logonTypes": ", ".join(types),
        "logOnMachinesCount": len(logons),
        "isDomainAdmin": False,
        "isOnlyNetworkUser": types == ["Network"],
    }


def _whole_seconds(value: datetime) -> str:
    """Clients read the times of users without a fraction."""
    return to_text(value.replace(microsecond=0))
