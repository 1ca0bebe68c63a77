"""Whose the records are: host names to devices, remembered for a while."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cachetools import TTLCache
from sqlalchemy import select

from shieldwall.devices.models import Device
from shieldwall.devices.named import find_or_add
from shieldwall.devices.reports import store_reports
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore

REMEMBERED = 100_000
SECONDS = 60
"""For how long a name stands for the device that it was found to be."""


@dataclass(frozen=True)
class Host:
    """A device as columns have it."""

    device_id: str
    name: str
    group: str


class Hosts:
    """Finds devices by name, and makes those that are not known yet."""

    def __init__(self, store: TelemetryStore, database: Database) -> None:
        self._store = store
        self._database = database
        self._remembered: TTLCache[tuple[str, str], Host] = TTLCache(REMEMBERED, SECONDS)
        self._lock = threading.Lock()

    def find(self, tenant_id: str, platforms: Mapping[str, str]) -> dict[str, Host]:
        """The device of each host name; ``platforms`` has the OS that each is taken to run if it is new."""
        with self._lock:
            found = {name: self._remembered.get((tenant_id, name)) for name in platforms}
            missing = {name: platforms[name] for name, host in found.items() if host is None}
            fresh = self._look_up(tenant_id, missing) if missing else {}
            self._remembered.update({(tenant_id, name): host for name, host in fresh.items()})
        return {name: host for name, host in found.items() if host} | fresh

    def of(self, tenant_id: str, device_ids: Collection[str]) -> dict[str, Host]:
        """Devices by their ids."""
        with self._database.read(tenant_id) as session:
            return {
                device.id: Host(
                    device.id, device.computer_dns_name, device.group.name if device.group else ""
                )
                for device in session.scalars(select(Device).where(Device.id.in_(device_ids)))
            }

    def _look_up(self, tenant_id: str, platforms: Mapping[str, str]) -> dict[str, Host]:
        added = []
        hosts = {}
        with self._database.session(tenant_id) as session:
            for name, device in find_or_add(session, tenant_id, platforms).items():
                group = device.group.name if device.group else ""
                hosts[name] = Host(device.id, device.computer_dns_name, group)
                if not device.public_key and device.first_seen == device.last_seen:
                    added.append(device)
        store_reports(self._store, added)
        return hosts
