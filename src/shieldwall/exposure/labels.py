"""What lists say of the devices in their rows: the name, the platform and the group of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.devices.models import Device, DeviceGroup, DeviceTag

UNASSIGNED = "Unassigned"
NO_GROUPS = "None"
AT_ONCE = 5000


@dataclass(frozen=True)
class Label:
    """A device as rows name it; ``group_id`` is 0 where it is in no group."""

    name: str
    platform: str
    group_id: int
    group_name: str
    tags: tuple[str, ...] = ()

    def reference(self, identifier: str) -> dict[str, Any]:
        """The device as lists of devices that are concerned show it."""
        return {
            "id": identifier,
            "computerDnsName": self.name,
            "osPlatform": self.platform,
            "rbacGroupName": self.group_name,
            "rbacGroupId": self.group_id,
            "assetCriticalityLevel": None,
            "tags": list(self.tags),
        }


def read_labels(session: Session, identifiers: Collection[str]) -> Mapping[str, Label]:
    """The labels of those of these devices that there are."""
    names = {row.id: row.name for row in session.execute(select(DeviceGroup.id, DeviceGroup.name))}
    none = UNASSIGNED if names else NO_GROUPS
    wanted = sorted(set(identifiers))
    found: dict[str, Label] = {}
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        columns = select(Device.id, Device.computer_dns_name, Device.os_platform, Device.device_group_id)
        for identifier, name, platform, group in session.execute(columns.where(Device.id.in_(part))):
            found[identifier] = Label(name, platform, group or 0, names.get(group, none))
        tags: dict[str, list[str]] = {}
        known = select(DeviceTag.device_id, DeviceTag.tag).where(DeviceTag.device_id.in_(part))
        for identifier, tag in session.execute(known.order_by(DeviceTag.position)):
            tags.setdefault(identifier, []).append(tag)
        for identifier in tags.keys() & found.keys():
            found[identifier] = replace(found[identifier], tags=tuple(tags[identifier]))
    return found


def nobody(session: Session) -> Label:
    """The label of a device that is no longer enrolled."""
    groups = session.scalar(select(DeviceGroup.id).limit(1)) is not None
    return Label("", "", 0, UNASSIGNED if groups else NO_GROUPS)
