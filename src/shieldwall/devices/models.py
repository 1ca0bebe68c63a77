"""Tables of enrolled devices, their groups and tags, and the tokens that let new ones in."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, ForeignKey, Index, Select, String, Text, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shieldwall.state.base import Base, DeviceScoped, TenantOwned, UtcDateTime


class DeviceGroup(TenantOwned, Base):
    """A named set of devices that indicators and roles can be limited to."""

    __tablename__ = "device_groups"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(200))
    automation_level: Mapped[str | None] = mapped_column(String(24))
    """How much is remediated on its devices without asking; None is the tenant's level."""

    __table_args__ = (Index(None, "tenant_id", "name", unique=True),)


class Device(TenantOwned, DeviceScoped, Base):
    """An endpoint with an agent. The API calls it a Machine; column names follow the API's properties."""

    __tablename__ = "devices"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """40 lower-case hex digits, derived from the device's public key, so nobody can claim another's id."""
    computer_dns_name: Mapped[str] = mapped_column(String(255), index=True)
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    """Time of the last full report."""
    last_contact: Mapped[datetime] = mapped_column(UtcDateTime)
    os_platform: Mapped[str] = mapped_column(String(64), default="Linux")
    os_version: Mapped[str | None] = mapped_column(String(64))
    os_distribution: Mapped[str | None] = mapped_column(String(128))
    os_processor: Mapped[str | None] = mapped_column(String(32))
    os_architecture: Mapped[str | None] = mapped_column(String(16))
    os_build: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[str | None] = mapped_column(String(64))
    agent_version: Mapped[str | None] = mapped_column(String(64))
    last_ip_address: Mapped[str | None] = mapped_column(String(64))
    last_external_ip_address: Mapped[str | None] = mapped_column(String(64))
    health_status: Mapped[str] = mapped_column(String(48), default="Active")
    onboarding_status: Mapped[str] = mapped_column(String(32), default="Onboarded")
    device_value: Mapped[str] = mapped_column(String(16), default="Normal")
    risk_score: Mapped[str] = mapped_column(String(16), default="None")
    exposure_level: Mapped[str] = mapped_column(String(16), default="None")
    aad_device_id: Mapped[str | None] = mapped_column(String(36), index=True)
    is_aad_joined: Mapped[bool] = mapped_column(default=False)
    is_excluded: Mapped[bool] = mapped_column(default=False)
    exclusion_reason: Mapped[str | None] = mapped_column(String(300))
    is_potential_duplication: Mapped[bool] = mapped_column(default=False)
    merged_into_machine_id: Mapped[str | None] = mapped_column(String(40))
    managed_by: Mapped[str | None] = mapped_column(String(32), default="Unknown")
    managed_by_status: Mapped[str | None] = mapped_column(String(32), default="Unknown")
    defender_av_status: Mapped[str | None] = mapped_column(String(32), default="notSupported")
    device_group_id: Mapped[int | None] = mapped_column(ForeignKey("device_groups.id", ondelete="SET NULL"))
    ip_addresses: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """As the API shows them: ipAddress, macAddress, type, operationalStatus."""
    vm_metadata: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    logged_on_users: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    sensor_health: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """Per sensor: which mechanism runs, what it misses, what it lost."""
    hardware_id: Mapped[str] = mapped_column(String(64), default="", index=True)
    """Hash of the machine's own id; two devices that share it are one computer, enrolled twice."""
    public_key: Mapped[str] = mapped_column(Text)
    """The agent's Ed25519 public key, base64 of the 32 raw bytes."""
    certificate_serial: Mapped[str] = mapped_column(String(64), default="")
    revoked: Mapped[bool] = mapped_column(default=False)
    isolated: Mapped[bool] = mapped_column(default=False)

    group: Mapped[DeviceGroup | None] = relationship(lazy="joined")
    tags: Mapped[list[DeviceTag]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="DeviceTag.position"
    )

    __table_args__ = (Index(None, "tenant_id", "last_seen"),)

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return func.coalesce(cls.device_group_id, 0).in_(groups)


def device_ids(groups: Collection[int]) -> Select[tuple[str]]:
    """The ids of devices in ``groups``, for the conditions of what belongs to a device."""
    # An alias of the plain table: it keeps apart from the devices that the statement itself reads.
    devices = Device.__table__.alias("reached")
    return select(devices.c.id).where(func.coalesce(devices.c.device_group_id, 0).in_(groups))


class DeviceTag(TenantOwned, Base):
    """A tag on a device, in the order in which tags were added."""

    __tablename__ = "device_tags"

    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(200), primary_key=True)
    position: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index(None, "tenant_id", "tag"),)


class EnrolmentToken(TenantOwned, Base):
    """Lets new agents into a tenant; kept as a hash."""

    __tablename__ = "enrolment_tokens"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the token's 32 random bytes; a fast hash suffices for a value that cannot be guessed."""
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_time: Mapped[datetime] = mapped_column(UtcDateTime)
    uses_left: Mapped[int | None] = mapped_column()
    """1 for a one-time token, None for a tenant token without a bound."""
    device_group_id: Mapped[int | None] = mapped_column(ForeignKey("device_groups.id", ondelete="SET NULL"))
