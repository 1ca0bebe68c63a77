"""Tables of alerts, evidence, comments and incidents."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shieldwall.devices.models import device_ids
from shieldwall.state.base import Base, DeviceScoped, TenantOwned, UtcDateTime

ROW_ID = BigInteger().with_variant(Integer, "sqlite")


class Incident(TenantOwned, DeviceScoped, Base):
    """A group of alerts that belong together; a merged one points to the incident it went into."""

    __tablename__ = "incidents"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    redirect_incident_id: Mapped[int | None] = mapped_column(ROW_ID)
    name: Mapped[str] = mapped_column(String(500))
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    last_update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    first_event_time: Mapped[datetime] = mapped_column(UtcDateTime)
    last_event_time: Mapped[datetime] = mapped_column(UtcDateTime)
    severity: Mapped[str] = mapped_column(String(16), default="Informational")
    status: Mapped[str] = mapped_column(String(16), default="Active")
    """Active, InProgress, Resolved or Redirected."""
    classification: Mapped[str] = mapped_column(String(40), default="Unknown")
    determination: Mapped[str] = mapped_column(String(40), default="NotAvailable")
    assigned_to: Mapped[str | None] = mapped_column(String(200))
    tags: Mapped[list[str]] = mapped_column(JSON, default=list)
    comments: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    description: Mapped[str | None] = mapped_column(Text)
    summary: Mapped[str | None] = mapped_column(Text)
    resolving_comment: Mapped[str | None] = mapped_column(Text)
    """What analysts write of it, and of why it is resolved as it is."""
    last_modified_by: Mapped[str | None] = mapped_column(String(200))
    """Who changed it last; null while nobody has."""
    named_by_hand: Mapped[bool] = mapped_column(default=False)
    graded_by_hand: Mapped[bool] = mapped_column(default=False)
    """Whether an analyst has given it its name, its severity; then its alerts do not change it."""
    apart_from: Mapped[list[int]] = mapped_column(JSON, default=list)
    """Incidents with which it is never merged, because somebody has told them apart."""

    __table_args__ = (Index(None, "tenant_id", "last_update_time"), {"sqlite_autoincrement": True})

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        """An incident is of the devices of its alerts; one of them is enough."""
        alerts = Alert.__table__.alias("reached_alerts")
        return cls.id.in_(select(alerts.c.incident_id).where(alerts.c.machine_id.in_(device_ids(groups))))


class Alert(TenantOwned, DeviceScoped, Base):
    """One detection on one device."""

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    """Stable: made from what was detected, so that the same detection found twice is one alert."""
    incident_id: Mapped[int] = mapped_column(ForeignKey("incidents.id"), index=True)
    investigation_id: Mapped[int | None] = mapped_column(BigInteger)
    investigation_state: Mapped[str | None] = mapped_column(String(40))
    assigned_to: Mapped[str | None] = mapped_column(String(200))
    severity: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), default="New")
    classification: Mapped[str | None] = mapped_column(String(40))
    determination: Mapped[str | None] = mapped_column(String(40))
    detection_source: Mapped[str] = mapped_column(String(64))
    detector_id: Mapped[str | None] = mapped_column(String(64))
    category: Mapped[str | None] = mapped_column(String(64))
    threat_family_name: Mapped[str | None] = mapped_column(String(200))
    threat_name: Mapped[str | None] = mapped_column(String(300))
    title: Mapped[str] = mapped_column(String(500))
    description: Mapped[str] = mapped_column(Text, default="")
    recommended_action: Mapped[str | None] = mapped_column(Text)
    alert_creation_time: Mapped[datetime] = mapped_column(UtcDateTime)
    first_event_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_event_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    resolved_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    machine_id: Mapped[str | None] = mapped_column(String(40))
    computer_dns_name: Mapped[str | None] = mapped_column(String(255))
    rbac_group_name: Mapped[str | None] = mapped_column(String(200))
    mitre_techniques: Mapped[list[str]] = mapped_column(JSON, default=list)
    related_user: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    logged_on_users: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    event_count: Mapped[int] = mapped_column(default=1)
    """How many events this alert stands for; repeats of one detection add to it."""
    link_reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """Why it is in its incident: other alerts, each with what it shares; see ``alerts.correlation``."""
    moved_by: Mapped[str | None] = mapped_column(String(200))
    """The analyst who has put it into its incident, where it then stays."""
    custom_details: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """What its rule shows of the event, by the names that the rule gives."""

    comments: Mapped[list[AlertComment]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="AlertComment.id"
    )
    evidence: Mapped[list[Evidence]] = relationship(
        cascade="all, delete-orphan", lazy="select", order_by="Evidence.id"
    )
    incident: Mapped[Incident] = relationship(lazy="select")

    __table_args__ = (
        Index(None, "tenant_id", "alert_creation_time"),
        Index(None, "tenant_id", "last_update_time"),
        Index(None, "tenant_id", "machine_id"),
        Index(None, "tenant_id", "investigation_id"),
        # Alerts that nobody has looked at for an investigation are few, whatever the number of alerts.
        Index(
            "ix_alerts_waiting",
            "tenant_id",
            "machine_id",
            sqlite_where=text("investigation_state IS NULL"),
            postgresql_where=text("investigation_state IS NULL"),
        ),
    )

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return cls.machine_id.in_(device_ids(groups))


class AlertComment(TenantOwned, Base):
    """A remark of an analyst or playbook on an alert."""

    __tablename__ = "alert_comments"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), index=True)
    comment: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(200))
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)


class Evidence(TenantOwned, Base):
    """One entity of an alert; fields that do not apply to its ``entity_type`` are null."""

    __tablename__ = "alert_evidence"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"))
    digest: Mapped[str] = mapped_column(String(40))
    """Hash of the entity; an alert holds each entity once."""
    entity_type: Mapped[str] = mapped_column(String(32))
    evidence_creation_time: Mapped[datetime] = mapped_column(UtcDateTime)
    sha1: Mapped[str | None] = mapped_column(String(40))
    sha256: Mapped[str | None] = mapped_column(String(64))
    md5: Mapped[str | None] = mapped_column(String(32))
    file_name: Mapped[str | None] = mapped_column(String(512))
    file_path: Mapped[str | None] = mapped_column(Text)
    process_id: Mapped[int | None] = mapped_column(BigInteger)
    process_command_line: Mapped[str | None] = mapped_column(Text)
    process_creation_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    parent_process_id: Mapped[int | None] = mapped_column(BigInteger)
    parent_process_creation_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    parent_process_file_name: Mapped[str | None] = mapped_column(String(512))
    parent_process_file_path: Mapped[str | None] = mapped_column(Text)
    ip_address: Mapped[str | None] = mapped_column(String(64))
    url: Mapped[str | None] = mapped_column(Text)
    registry_key: Mapped[str | None] = mapped_column(Text)
    registry_hive: Mapped[str | None] = mapped_column(String(64))
    registry_value_type: Mapped[str | None] = mapped_column(String(32))
    registry_value: Mapped[str | None] = mapped_column(Text)
    account_name: Mapped[str | None] = mapped_column(String(256))
    domain_name: Mapped[str | None] = mapped_column(String(256))
    user_sid: Mapped[str | None] = mapped_column(String(200))
    aad_user_id: Mapped[str | None] = mapped_column(String(36))
    user_principal_name: Mapped[str | None] = mapped_column(String(256))
    detection_status: Mapped[str | None] = mapped_column(String(16))
    verdict: Mapped[str] = mapped_column(String(16), default="Unknown")
    """Malicious, Suspicious, NoThreatsFound or Unknown."""
    remediation_status: Mapped[str] = mapped_column(String(16), default="None")
    """None, Remediated, Prevented, Blocked or NotFound."""

    __table_args__ = (Index(None, "alert_id", "digest", unique=True),)
