"""Where the users of alerts came from, and where their processes went: links that lead to other devices.

An alert's own event seldom tells of the logon behind it, and the events of that logon may come later, from
another device. So fresh alerts are looked at for some time, beside ingestion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from shieldwall.alerts.drafts import EvidenceDraft
from shieldwall.alerts.links import Link, evidence_links, logon_links
from shieldwall.alerts.models import Alert, Evidence
from shieldwall.alerts.process_tree import NEAR
from shieldwall.alerts.raising import relink
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

FRESH = timedelta(minutes=15)
"""How long after an alert was made events are waited for."""
BEFORE = timedelta(hours=8)
"""How long before an alert a logon may have been that it comes from."""
ALERTS = 1000
ROWS = 10_000
LINKS = 8
"""Most places that one alert is linked to."""

_LOGONS = f"""
SELECT DeviceId AS device, lower(AccountName) AS account, RemoteIP AS address, RemoteDeviceName AS name,
       min(Timestamp) AS first
FROM DeviceLogonEvents
WHERE DeviceId IN {{devices:Array(String)}} AND ActionType = 'LogonSuccess'
  AND (RemoteIP != '' OR RemoteDeviceName != '')
  AND Timestamp BETWEEN {{since:DateTime64(7)}} AND {{until:DateTime64(7)}}
GROUP BY device, account, address, name ORDER BY first LIMIT {ROWS}
"""
_CONNECTIONS = f"""
SELECT DeviceId AS device, InitiatingProcessId AS pid, InitiatingProcessCreationTime AS started,
       RemoteIP AS address
FROM DeviceNetworkEvents
WHERE DeviceId IN {{devices:Array(String)}} AND InitiatingProcessId IN {{pids:Array(Int64)}}
  AND RemotePort IN (22, 135, 139, 445, 3389, 5900, 5985, 5986) AND ActionType != 'InboundConnectionAccepted'
  AND Timestamp BETWEEN {{since:DateTime64(7)}} AND {{until:DateTime64(7)}}
GROUP BY device, pid, started, address LIMIT {ROWS}
"""


@dataclass
class _Fresh:
    """What is asked about one alert."""

    id: str
    device: str
    first: datetime
    last: datetime
    accounts: set[str] = field(default_factory=set)
    processes: list[tuple[int, datetime]] = field(default_factory=list)


class RemoteLogons:
    """Links fresh alerts to the devices that their users came from and their processes went to."""

    def __init__(self, store: TelemetryStore, database: Database, incident_window: int) -> None:
        self._store = store
        self._database = database
        self._window = incident_window

    def run(self) -> int:
        """Look once at the alerts of the last minutes; how many got links that they had not."""
        with self._database.system_read() as session:
            wanted = select(Alert.tenant_id, Alert.id).where(
                Alert.alert_creation_time >= now() - FRESH, Alert.machine_id.is_not(None)
            )
            tenants: dict[str, list[str]] = defaultdict(list)
            for tenant_id, identifier in session.execute(
                wanted.order_by(Alert.alert_creation_time.desc(), Alert.id).limit(ALERTS)
            ):
                tenants[tenant_id].append(identifier)
        return sum(self._of_tenant(tenant_id, tenants[tenant_id]) for tenant_id in sorted(tenants))

    def _of_tenant(self, tenant_id: str, identifiers: Sequence[str]) -> int:
        fresh = self._read(tenant_id, identifiers)
        links = self._links(tenant_id, fresh)
        if not links:
            return 0
        with self._database.system_session() as session:
            changed = 0
            for alert in session.scalars(select(Alert).where(Alert.id.in_(links)).order_by(Alert.id)).all():
                changed += relink(session, alert, links[alert.id], self._window)
        return changed

    def _read(self, tenant_id: str, identifiers: Sequence[str]) -> list[_Fresh]:
        found: dict[str, _Fresh] = {}
        with self._database.read(tenant_id) as session:
            for alert in session.scalars(select(Alert).where(Alert.id.in_(identifiers))):
                if alert.machine_id and alert.first_event_time and alert.last_event_time:
                    span = (alert.first_event_time, alert.last_event_time)
                    found[alert.id] = _Fresh(alert.id, alert.machine_id, *span)
            kinds = (Evidence.alert_id.in_(found), Evidence.entity_type.in_(("User", "Process")))
            for item in session.scalars(select(Evidence).where(*kinds)):
                one = found[item.alert_id]
                if item.account_name:
                    one.accounts.add(item.account_name.lower())
                if item.process_id and item.process_creation_time:
                    one.processes.append((item.process_id, item.process_creation_time))
        return list(found.values())

    def _links(self, tenant_id: str, fresh: Sequence[_Fresh]) -> dict[str, list[Link]]:
        if not fresh:
            return {}
        span = {
            "devices": sorted({each.device for each in fresh}),
            "since": _plain(min(each.first for each in fresh) - BEFORE),
            "until": _plain(max(each.last for each in fresh)),
        }
        pids = sorted({pid for each in fresh for pid, _ in each.processes})
        logons = self._store.query(tenant_id, _LOGONS, span)
        ways = self._store.query(tenant_id, _CONNECTIONS, {**span, "pids": pids}) if pids else []
        found: dict[str, list[Link]] = {}
        for one in fresh:
            came = (
                link
                for row in logons
                if row["device"] == one.device and row["account"] in one.accounts
                if one.first - BEFORE <= row["first"] <= one.last
                for link in logon_links(row["address"], row["name"])
            )
            went = (
                EvidenceDraft("Ip", ip_address=row["address"])
                for row in ways
                if row["device"] == one.device and _is_one(row["pid"], row["started"], one.processes)
            )
            links = list(dict.fromkeys([*came, *evidence_links(None, went)]))[:LINKS]
            if links:
                found[one.id] = links
        return found


def _is_one(pid: int, started: datetime | None, processes: Iterable[tuple[int, datetime]]) -> bool:
    return started is not None and any(
        pid == other and abs(started - when) < NEAR for other, when in processes
    )


def _plain(time: datetime) -> datetime:
    """A time as the engine's parameters take it: UTC without a zone."""
    return time.astimezone(UTC).replace(tzinfo=None)
