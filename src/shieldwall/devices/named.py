"""Devices that other sensors tell of by name: the enrolled one of that name, else one that is made of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from datetime import timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from shieldwall.devices.models import Device
from shieldwall.times import now

NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_])?")
SEEN_AGAIN = timedelta(minutes=5)
"""How old the last sighting of a device without an agent must be to be written anew."""
_CHUNK = 500


def find_or_add(session: Session, tenant_id: str, platforms: Mapping[str, str]) -> dict[str, Device]:
    """The device of each host name; ``platforms`` has the OS of each, in case it is new.

    Names are compared without case. A short name and a whole one are the same machine where only one device
    of the tenant fits. New devices have no agent: their onboarding status is CanBeOnboarded.
    """
    known = _known(session, platforms)
    time = now()
    found: dict[str, Device] = {}
    for name, platform in platforms.items():
        device = _match(name.lower(), known)
        if device is None:
            device = _new(tenant_id, name, platform)
            session.add(device)
            known.setdefault(name.lower(), []).append(device)
        elif not device.public_key and time - device.last_seen > SEEN_AGAIN:
            device.last_seen = device.last_contact = time
        found[name] = device
    session.flush()
    return found


def device_id_for_name(tenant_id: str, name: str) -> str:
    """The id of a device without an agent: the same for the same name, whenever it is first heard of."""
    return hashlib.sha256(f"{tenant_id}\n{name.lower()}".encode()).hexdigest()[:40]


def _match(name: str, known: Mapping[str, list[Device]]) -> Device | None:
    if same := known.get(name):
        # Of one machine enrolled anew, the newest device.
        return max(same, key=lambda device: (bool(device.public_key), device.last_seen))
    label, _, domain = name.partition(".")
    near = [
        device
        for other, devices in known.items()
        if other.partition(".")[0] == label and (not domain or "." not in other)
        for device in devices
    ]
    return near[0] if len(near) == 1 else None


def _known(session: Session, names: Collection[str]) -> dict[str, list[Device]]:
    """Devices that might be meant, by name."""
    name = func.lower(Device.computer_dns_name)
    wanted = sorted({part for text in names for part in (text.lower(), text.lower().partition(".")[0])})
    short = sorted({text.lower() for text in names if "." not in text})
    found: dict[str, Device] = {}
    for start in range(0, len(wanted), _CHUNK):
        some = name.in_(wanted[start : start + _CHUNK])
        found |= {device.id: device for device in session.scalars(select(Device).where(some))}
    for start in range(0, len(short), _CHUNK):
        prefixes = (name.startswith(f"{text}.", autoescape=True) for text in short[start : start + _CHUNK])
        found |= {device.id: device for device in session.scalars(select(Device).where(or_(*prefixes)))}
    known: dict[str, list[Device]] = {}
    for device in found.values():
        if not device.merged_into_machine_id:
            known.setdefault(device.computer_dns_name.lower(), []).append(device)
    return known


def _new(tenant_id: str, name: str, platform: str) -> Device:
    time = now()
    return Device(
        id=device_id_for_name(tenant_id, name),
        tenant_id=tenant_id,
        computer_dns_name=name,
        first_seen=time,
        last_seen=time,
        last_contact=time,
        os_platform=platform,
        onboarding_status="CanBeOnboarded",
        health_status="NoSensorData",
        public_key="",
        ip_addresses=[],
        logged_on_users=[],
        sensor_health={},
    )
