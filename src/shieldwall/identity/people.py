"""Tables of people: users, the roles that say what they may do on which devices, and their sign-ins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shieldwall.state.base import Base, TenantOwned, UtcDateTime


class User(TenantOwned, Base):
    """A person who signs in."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """The object id, ``oid`` in tokens."""
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    upn: Mapped[str] = mapped_column(String(200), unique=True)
    """User principal name in lower case; no two tenants have the same, so it tells the tenant."""
    display_name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(200))
    enabled: Mapped[bool] = mapped_column(default=True)
    admin: Mapped[bool] = mapped_column(default=False)
    """May consent to applications for the tenant."""
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    generation: Mapped[int] = mapped_column(default=1)
    """Tokens carry it. A new password counts it up, which ends what was signed in with the old one."""


class Role(TenantOwned, Base):
    """Delegated permissions, and the devices on which those who have the role may use them."""

    __tablename__ = "roles"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    permissions: Mapped[list[str]] = mapped_column(JSON)
    all_devices: Mapped[bool] = mapped_column(default=False)
    ungrouped: Mapped[bool] = mapped_column(default=False)
    """Devices that are in no group belong to it too."""
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    groups: Mapped[list[RoleDeviceGroup]] = relationship(cascade="all, delete-orphan", lazy="selectin")
    members: Mapped[list[RoleMember]] = relationship(cascade="all, delete-orphan", lazy="selectin")

    __table_args__ = (Index(None, "tenant_id", "name", unique=True),)


class RoleDeviceGroup(TenantOwned, Base):
    """A device group that a role reaches; a role whose groups are all gone reaches nothing."""

    __tablename__ = "role_device_groups"

    role_id: Mapped[str] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
    device_group_id: Mapped[int] = mapped_column(
        ForeignKey("device_groups.id", ondelete="CASCADE"), primary_key=True
    )
    group: Mapped[Any] = relationship("DeviceGroup", lazy="joined", viewonly=True)


class RoleMember(TenantOwned, Base):
    """A user who has a role."""

    __tablename__ = "role_members"

    role_id: Mapped[str] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)


class _Granted(TenantOwned):
    """What every code and refresh token carries: who signed in to which application, and for what.

    ``digest`` is the SHA-256 of its random bytes; a fast hash suffices for what cannot be guessed.
    """

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id", ondelete="CASCADE"), index=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    audience: Mapped[str] = mapped_column(String(300))
    expires_time: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class AuthorizationCode(_Granted, Base):
    """Taken from the sign-in page to the token endpoint, once."""

    __tablename__ = "authorization_codes"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    redirect_uri: Mapped[str] = mapped_column(String(2000))
    challenge: Mapped[str] = mapped_column(String(43))
    """S256 of the verifier that must come with the code; empty for a confidential client that sent none."""
    nonce: Mapped[str] = mapped_column(String(500))
    family: Mapped[str] = mapped_column(String(36))
    """Of the refresh tokens that come of it: a code that comes twice ends them."""
    used: Mapped[bool] = mapped_column(default=False)


class DeviceCode(_Granted, Base):
    """Polled by an application, while a person enters ``user_code`` on another machine."""

    __tablename__ = "device_codes"

    any_tenant: Mapped[bool] = mapped_column(default=False)
    """People of any tenant may enter it; else only those of this one."""
    user_digest: Mapped[str] = mapped_column(String(64), unique=True)
    status: Mapped[str] = mapped_column(String(16), default="pending")
    """pending, approved, declined or used."""
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    polled_time: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RefreshToken(_Granted, Base):
    """Exchanged for an access token and a new refresh token, once; used again, its whole family ends."""

    __tablename__ = "refresh_tokens"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    family: Mapped[str] = mapped_column(String(36), index=True)
    used: Mapped[bool] = mapped_column(default=False)
