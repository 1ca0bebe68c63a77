"""Devices that have fallen silent."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from shieldwall.devices.models import Device
from shieldwall.state.engine import Database
from shieldwall.times import now

IMPAIRED_AFTER = timedelta(minutes=30)
"""An agent polls at least once a minute, so a device this long silent has lost its way to the server."""
INACTIVE_AFTER = timedelta(days=7)


def update_health(database: Database) -> None:
    """Mark devices by how long ago they were last in contact; their next contact makes them Active again."""
    time = now()
    with database.system_session() as session:
        for status, before, since in (
            ("ImpairedCommunication", time - IMPAIRED_AFTER, time - INACTIVE_AFTER),
            ("Inactive", time - INACTIVE_AFTER, None),
        ):
            silent = update(Device).where(Device.last_contact < before, Device.health_status != status)
            if since is not None:
                silent = silent.where(Device.last_contact >= since)
            session.execute(silent.values(health_status=status))
