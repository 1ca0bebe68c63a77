"""Tables of remediation tasks, of authenticated scans and what came of them, of exceptions from baselines."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, ForeignKey, Index, String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.devices.models import device_ids
from shieldwall.state.base import Base, DeviceScoped, TenantOwned, UtcDateTime


class RemediationTask(TenantOwned, DeviceScoped, Base):
    """A request to act on a recommendation; column names follow the API's properties."""

    __tablename__ = "remediation_tasks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    title: Mapped[str] = mapped_column(String(500))
    created_on: Mapped[datetime] = mapped_column(UtcDateTime)
    requester_id: Mapped[str] = mapped_column(String(200))
    requester_email: Mapped[str] = mapped_column(String(320), default="")
    status: Mapped[str] = mapped_column(String(16), default="Active")
    status_last_modified_on: Mapped[datetime] = mapped_column(UtcDateTime)
    description: Mapped[str] = mapped_column(Text, default="")
    related_component: Mapped[str] = mapped_column(String(500), default="")
    rbac_group_names: Mapped[list[str]] = mapped_column(JSON, default=list)
    requester_notes: Mapped[str | None] = mapped_column(Text)
    due_on: Mapped[datetime | None] = mapped_column(UtcDateTime)
    category: Mapped[str] = mapped_column(String(40))
    productivity_impact: Mapped[str | None] = mapped_column(String(40))
    priority: Mapped[str] = mapped_column(String(16))
    completion_method: Mapped[str | None] = mapped_column(String(16))
    completer_id: Mapped[str | None] = mapped_column(String(200))
    completer_email: Mapped[str | None] = mapped_column(String(320))
    scid: Mapped[str | None] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(40))
    vendor_id: Mapped[str] = mapped_column(String(300), default="")
    name_id: Mapped[str] = mapped_column(String(300), default="")
    recommended_version: Mapped[str | None] = mapped_column(String(200))
    recommended_vendor: Mapped[str | None] = mapped_column(String(300))
    recommended_program: Mapped[str | None] = mapped_column(String(300))
    recommendation_reference: Mapped[str] = mapped_column(String(700))
    target_devices: Mapped[int] = mapped_column(default=0)
    fixed_devices: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index(None, "tenant_id", "created_on"), Index(None, "tenant_id", "status"))

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        """A task is of its devices; one of them is enough."""
        devices = RemediationDevice.__table__.alias("reached_tasks")
        return cls.id.in_(select(devices.c.task_id).where(devices.c.device_id.in_(device_ids(groups))))


class RemediationDevice(TenantOwned, DeviceScoped, Base):
    """A device that a task is about."""

    __tablename__ = "remediation_devices"

    task_id: Mapped[str] = mapped_column(
        ForeignKey("remediation_tasks.id", ondelete="CASCADE"), primary_key=True
    )
    device_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    fixed: Mapped[bool] = mapped_column(default=False)

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return cls.device_id.in_(device_ids(groups))


class ScanDefinition(TenantOwned, DeviceScoped, Base):
    """What a device is to scan, and how often."""

    __tablename__ = "scan_definitions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    scan_type: Mapped[str] = mapped_column(String(16))
    scan_name: Mapped[str] = mapped_column(String(200))
    is_active: Mapped[bool] = mapped_column(default=True)
    target: Mapped[str] = mapped_column(Text)
    target_type: Mapped[str] = mapped_column(String(16), default="Ip")
    interval_in_hours: Mapped[int] = mapped_column(default=4)
    created_by: Mapped[str] = mapped_column(String(320))
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    machine_id: Mapped[str] = mapped_column(String(40))
    """The device that scans."""
    authentication: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """What of the credentials may be shown."""
    sealed: Mapped[str] = mapped_column(Text, default="")
    """The credentials themselves, encrypted with the server's key."""

    __table_args__ = (Index(None, "tenant_id", "created_time"),)

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return cls.machine_id.in_(device_ids(groups))


class ScanSession(TenantOwned, DeviceScoped, Base):
    """One run of a scan, and what it found at each target."""

    __tablename__ = "scan_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    definition_id: Mapped[str] = mapped_column(
        ForeignKey("scan_definitions.id", ondelete="CASCADE"), index=True
    )
    machine_id: Mapped[str] = mapped_column(String(40))
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(32))
    failure_reason: Mapped[str | None] = mapped_column(Text)
    targets: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """As the API shows them: with Ip, Hostname, ScanStatus, ErrorMessage and the rest of their names."""
    succeeded: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index(None, "tenant_id", "time"),)

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return cls.machine_id.in_(device_ids(groups))


class BaselineException(TenantOwned, Base):
    """What devices need not keep to until ``due_date``; of all devices where ``devices`` names none."""

    __tablename__ = "baseline_exceptions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    title: Mapped[str | None] = mapped_column(String(300))
    description: Mapped[str | None] = mapped_column(Text)
    justification: Mapped[str | None] = mapped_column(Text)
    approved_by: Mapped[str | None] = mapped_column(String(300))
    due_date: Mapped[datetime] = mapped_column(UtcDateTime)
    software_name: Mapped[str | None] = mapped_column(String(300))
    software_version: Mapped[str | None] = mapped_column(String(300))
    benchmark_name: Mapped[str] = mapped_column(String(300))
    benchmark_version: Mapped[str] = mapped_column(String(300))
    compliance_level: Mapped[str | None] = mapped_column(String(300))
    configurations: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    """Each with its id and name."""
    devices: Mapped[list[str]] = mapped_column(JSON)
    created_on: Mapped[datetime] = mapped_column(UtcDateTime)
    requester: Mapped[dict[str, str]] = mapped_column(JSON)
    last_modified_on: Mapped[datetime] = mapped_column(UtcDateTime)
    last_modified_by: Mapped[dict[str, str]] = mapped_column(JSON)

    __table_args__ = (Index(None, "tenant_id", "created_on"),)
