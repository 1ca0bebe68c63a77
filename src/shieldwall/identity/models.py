"""Tables of what may call: tenants, applications with what proves them, consents, and the audit log."""

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
    automation_level: Mapped[str | None] = mapped_column(String(24))
    """How much is remediated without asking where a device's group says nothing; None is the server's."""


class Application(TenantOwned, Base):
    """A program that gets tokens: its own by ``roles``, and those of people who sign in by ``delegated``."""

    __tablename__ = "applications"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    roles: Mapped[list[str]] = mapped_column(JSON)
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled: Mapped[bool] = mapped_column(default=False)
    public: Mapped[bool] = mapped_column(default=False)
    """Runs where it can keep no secret, on people's own machines; then it proves nothing and has no roles."""
    multi_tenant: Mapped[bool] = mapped_column(default=False)
    """Other tenants may consent to it."""
    delegated: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Delegated permissions that it may use in the name of people."""
    redirect_uris: Mapped[list[str]] = mapped_column(JSON, default=list)
    secrets: Mapped[list[ApplicationSecret]] = relationship(cascade="all, delete-orphan", lazy="selectin")
    certificates: Mapped[list[ApplicationCertificate]] = relationship(
        cascade="all, delete-orphan", lazy="selectin"
    )

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


class ApplicationCertificate(TenantOwned, Base):
    """A certificate whose key signs an application's assertions."""

    __tablename__ = "application_certificates"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id", ondelete="CASCADE"), index=True)
    sha1: Mapped[str] = mapped_column(String(40))
    sha256: Mapped[str] = mapped_column(String(64))
    """Thumbprints of the DER bytes in lower-case hexadecimal; ``x5t`` and ``x5t#S256`` name them."""
    subject: Mapped[str] = mapped_column(String(300))
    pem: Mapped[str] = mapped_column(Text)
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_time: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "application_id", "sha256", unique=True),)


class UsedAssertion(TenantOwned, Base):
    """An assertion that was accepted, until it expires: another with its ``jti`` is not."""

    __tablename__ = "used_assertions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of the application and the ``jti``."""
    use: Mapped[str] = mapped_column(String(64))
    """Hash of the whole assertion and the network that it came from."""
    expires_time: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Consent(TenantOwned, Base):
    """What a tenant lets another tenant's application do in it."""

    __tablename__ = "consents"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    application_id: Mapped[str] = mapped_column(
        ForeignKey("applications.id", ondelete="CASCADE"), primary_key=True
    )
    roles: Mapped[list[str]] = mapped_column(JSON)
    delegated: Mapped[list[str]] = mapped_column(JSON)
    granted_by: Mapped[str] = mapped_column(String(200))
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)


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
