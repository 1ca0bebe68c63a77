"""How much is done without asking: by the device's group, else its tenant, else the server's setting."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.errors import bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.models import Tenant
from shieldwall.settings import AUTOMATION_LEVELS
from shieldwall.state.engine import Database

NONE = "none"
"""No alert starts an investigation, and none remediates anything."""


def automation_level(session: Session, device: Device, default: str) -> str:
    """The level of a device; ``default`` is the server's."""
    if device.group is not None and device.group.automation_level:
        return device.group.automation_level
    return tenant_level(session, device.tenant_id, default)


def tenant_level(session: Session, tenant_id: str, default: str) -> str:
    """The level of devices without a group, and of groups without a level of their own."""
    tenant = session.get(Tenant, tenant_id)
    return (tenant.automation_level if tenant else None) or default


def set_level(database: Database, tenant_id: str, group: str | None, level: str | None, actor: str) -> None:
    """Set the level of a device group, or with None of the tenant; ``level`` None goes back to the default.

    ApiError 404 for an unknown group, 400 for an unknown level. Investigations that have planned their
    remediation already keep to what they planned.
    """
    if level is not None and level not in AUTOMATION_LEVELS:
        raise bad_request(f"The level must be one of {', '.join(AUTOMATION_LEVELS)}.", "InvalidInput")
    with database.session(tenant_id) as session:
        place: DeviceGroup | Tenant | None
        if group is None:
            place = session.get(Tenant, tenant_id, with_for_update=True)
        else:
            named = select(DeviceGroup).where(DeviceGroup.name == group)
            place = session.scalar(named.with_for_update())
        if place is None:
            raise not_found("Device group", (group or tenant_id)[:100])
        place.automation_level = level
        audit.record(session, actor, "automation.level", group or "", detail={"level": level})
