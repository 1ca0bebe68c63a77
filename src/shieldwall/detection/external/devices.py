"""The device that an alert names: by id, name, hardware address, or the address that it had at the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from shieldwall.detection.external.flows import both_forms
from shieldwall.detection.external.schema import ExternalAlert
from shieldwall.devices.models import Device
from shieldwall.telemetry.logons import addressed
from shieldwall.telemetry.store import TelemetryStore

BY_ID, BY_NAME, BY_SHORT_NAME, BY_MAC, BY_LEASE, BY_CONNECTIONS, BY_LAST_ADDRESS = 100, 90, 80, 85, 75, 60, 45
"""How sure each way is, of 100."""

REPORTS = timedelta(hours=25)
LEASE = timedelta(minutes=15)
AROUND = timedelta(hours=1)
ADDRESSES_LIMIT = 8
BEHIND_LIMIT = 10_000

_BY_MAC = """
SELECT DeviceId AS device, max(Timestamp) AS last FROM DeviceNetworkInfo
WHERE Timestamp BETWEEN {since:DateTime64(7)} AND {until:DateTime64(7)}
  AND replaceRegexpAll(lower(MacAddress), '[:.-]', '') IN {macs:Array(String)}
GROUP BY device ORDER BY last DESC LIMIT 3
"""
_BY_CONNECTIONS = """
SELECT DISTINCT DeviceId AS device FROM DeviceNetworkEvents
WHERE Timestamp BETWEEN {since:DateTime64(7)} AND {until:DateTime64(7)}
  AND LocalIP IN {addresses:Array(String)} LIMIT 3
"""


@dataclass(frozen=True)
class Found:
    device_id: str
    score: int
    reason: str


def named(session: Session, store: TelemetryStore, alert: ExternalAlert, tenant_id: str) -> Found | None:
    """The device that the alert's product knew by more than an address; None where none or several fit."""
    hint = alert.device
    if hint.id:
        wanted = hint.id.strip().lower()
        ways = or_(Device.id == wanted, Device.aad_device_id == wanted)
        if found := _single(session.scalars(select(Device.id).where(ways).limit(2)).all()):
            return Found(found, BY_ID, "device id")
    if hint.name:
        name = hint.name.rstrip(".").lower()
        column = func.lower(Device.computer_dns_name)
        newest = select(Device.id).where(column == name).order_by(Device.last_contact.desc()).limit(2)
        if found := _single(session.scalars(newest).all()):
            return Found(found, BY_NAME, "name")
        short = name.partition(".")[0]
        alike = or_(column == short, column.startswith(f"{short}.", autoescape=True))
        # A name with another domain is another device.
        comparable = short == name or session.scalar(select(Device.id).where(column == short).limit(1))
        if comparable and (found := _single(session.scalars(select(Device.id).where(alike).limit(2)).all())):
            return Found(found, BY_SHORT_NAME, "short name")
    if hint.mac_addresses:
        times = _span(alert.time - REPORTS, alert.time + LEASE)
        rows = store.query(tenant_id, _BY_MAC, {**times, "macs": list(hint.mac_addresses)})
        if found := _single([row["device"] for row in rows]):
            return Found(found, BY_MAC, "hardware address")
    return None


def by_address(
    session: Session, store: TelemetryStore, alert: ExternalAlert, tenant_id: str, skew: float
) -> Found | None:
    """The one device that had an address of the alert at its time."""
    moment = alert.time - timedelta(seconds=skew)
    for address in list(dict.fromkeys(_addresses(alert)))[:ADDRESSES_LIMIT]:
        known = addressed(store, tenant_id, address, moment, LEASE)
        had = [device for device, has in known.items() if has]
        if found := _single(had):
            return Found(found, BY_LEASE, f"had {address} at that time")
        if had:
            continue
        times = _span(moment - AROUND, moment + AROUND)
        rows = store.query(tenant_id, _BY_CONNECTIONS, {**times, "addresses": list(both_forms(address))})
        if found := _single([row["device"] for row in rows]):
            return Found(found, BY_CONNECTIONS, f"used {address} at that time")
        if rows:
            continue
        # What reported no adapters yet counts with the address of its last report.
        told = select(Device.id).where(
            Device.last_ip_address == address,
            Device.id.not_in(sorted(known)[:5000]),
            Device.first_seen <= moment + LEASE,
            Device.last_contact >= moment - REPORTS,
        )
        if found := _single(session.scalars(told.limit(2)).all()):
            return Found(found, BY_LAST_ADDRESS, f"has {address}")
    return None


def behind(session: Session, address: str | None) -> frozenset[str]:
    """Devices that reach us from a public address, which is their gateway's then."""
    if address is None or not ip_address(address).is_global:
        return frozenset()
    same = select(Device.id).where(Device.last_external_ip_address == address)
    return frozenset(session.scalars(same.limit(BEHIND_LIMIT)))


def _addresses(alert: ExternalAlert) -> Iterator[str]:
    """The likeliest first: what the product says of the device, then the end at which it is."""
    yield from alert.device.addresses
    network = alert.network
    source = (network.source_address, network.translated_source_address)
    ends = (network.destination_address, *source)
    for address in ends if network.direction == "Inbound" else (*source, network.destination_address):
        if address:
            yield address


def _single(found: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else None


def _span(since: datetime, until: datetime) -> dict[str, datetime]:
    return {
        "since": since.astimezone(UTC).replace(tzinfo=None),
        "until": until.astimezone(UTC).replace(tzinfo=None),
    }
