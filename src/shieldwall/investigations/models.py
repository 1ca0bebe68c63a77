"""Table of automated investigations."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.alerts.models import ROW_ID
from shieldwall.devices.models import device_ids
from shieldwall.state.base import Base, DeviceScoped, TenantOwned, UtcDateTime


class Investigation(TenantOwned, DeviceScoped, Base):
    """One investigation, of the device that it began on and of those that joined.

    ``state`` has the documented values.
    """

    __tablename__ = "investigations"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    state: Mapped[str] = mapped_column(String(40), default="Queued")
    start_time: Mapped[datetime] = mapped_column(UtcDateTime)
    end_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    deadline: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When actions that still wait for approval count as rejected."""
    cancelled_by: Mapped[str | None] = mapped_column(String(200))
    status_details: Mapped[str | None] = mapped_column(Text)
    machine_id: Mapped[str] = mapped_column(String(40))
    computer_dns_name: Mapped[str | None] = mapped_column(String(255))
    triggering_alert_id: Mapped[str | None] = mapped_column(String(80))
    wanted: Mapped[int] = mapped_column(default=1)
    """How often there was something to look at: at its start, and whenever alerts joined."""
    judged: Mapped[int] = mapped_column(default=0)
    """The last of these looks whose findings are kept."""
    requestor: Mapped[str] = mapped_column(String(200))
    comment: Mapped[str | None] = mapped_column(Text)
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """Each file that was judged, by device: hashes, path, verdict and the reasons for it."""
    actions: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """Remediation: what of which file on which device, whether it waits, who decided, its machine action."""

    __table_args__ = (
        Index(None, "tenant_id", "machine_id", "state"),
        Index(None, "tenant_id", "start_time"),
        Index(None, "state"),
        {"sqlite_autoincrement": True},
    )

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return cls.machine_id.in_(device_ids(groups))
