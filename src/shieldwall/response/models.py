"""Table of machine actions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.devices.models import device_ids
from shieldwall.state.base import Base, DeviceScoped, TenantOwned, UtcDateTime


class MachineAction(TenantOwned, DeviceScoped, Base):
    """A response on one device: Pending, then InProgress, then Succeeded, Failed, TimeOut or Cancelled."""

    __tablename__ = "machine_actions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    type: Mapped[str] = mapped_column(String(40))
    """Isolate, Unisolate, StopAndQuarantineFile, CollectInvestigationPackage and the rest of the contract."""
    title: Mapped[str | None] = mapped_column(String(300))
    scope: Mapped[str | None] = mapped_column(String(16))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """What the agent needs to carry it out."""
    requestor: Mapped[str] = mapped_column(String(200))
    requestor_comment: Mapped[str | None] = mapped_column(Text)
    request_source: Mapped[str | None] = mapped_column(String(40), default="PublicApi")
    external_id: Mapped[str | None] = mapped_column(String(300))
    status: Mapped[str] = mapped_column(String(16), default="Pending")
    machine_id: Mapped[str] = mapped_column(String(40))
    computer_dns_name: Mapped[str | None] = mapped_column(String(255))
    creation_time: Mapped[datetime] = mapped_column(UtcDateTime)
    last_update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    deadline: Mapped[datetime] = mapped_column(UtcDateTime)
    """When an action that is still open becomes TimeOut."""
    cancellation_requestor: Mapped[str | None] = mapped_column(String(200))
    cancellation_comment: Mapped[str | None] = mapped_column(Text)
    cancellation_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error_hresult: Mapped[int] = mapped_column(default=0)
    troubleshoot_info: Mapped[str | None] = mapped_column(Text)
    related_file_identifier: Mapped[str | None] = mapped_column(String(64))
    related_file_identifier_type: Mapped[str | None] = mapped_column(String(16))
    commands: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """What the agent reported: counts, vault ids, the stored package's name and size."""

    __table_args__ = (
        Index(None, "tenant_id", "machine_id", "status"),
        Index(None, "tenant_id", "creation_time"),
    )

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return cls.machine_id.in_(device_ids(groups))
