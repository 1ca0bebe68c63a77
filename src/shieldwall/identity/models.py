"""Tables of who may call: tenants, applications with their secrets, and what was done by whom."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shieldwall.state.base import TENANT_ID, Base, TenantOwned, UtcDateTime


class Tenant(Base):
    """One customer; everything else belongs to one."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)


class Application(TenantOwned, Base):
    """A program that gets tokens with client credentials; ``roles`` are its application permissions."""

    __tablename__ = "applications"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    roles: Mapped[list[str]] = mapped_column(JSON)
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled: Mapped[bool] = mapped_column(default=False)
    secrets: Mapped[list[ApplicationSecret]] = relationship(cascade="all, delete-orphan", lazy="selectin")

    __table_args__ = (Index(None, "tenant_id", "name", unique=True),)


class ApplicationSecret(TenantOwned, Base):
    """One of an application's secrets, kept only as a hash; several may be valid at once."""

    __tablename__ = "application_secrets"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(200))
    hint: Mapped[str] = mapped_column(String(8))
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_time: Mapped[datetime] = mapped_column(UtcDateTime)


class AuditEntry(TenantOwned, Base):
    """One thing that somebody did or was refused. Append-only."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(200))
    """Application id, user principal name, device id, or ``system``."""
    action: Mapped[str] = mapped_column(String(100))
    target: Mapped[str] = mapped_column(String(300), default="")
    outcome: Mapped[str] = mapped_column(String(20), default="success")
    source_ip: Mapped[str] = mapped_column(String(64), default="")
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    message: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (Index(None, "tenant_id", "time"),)
