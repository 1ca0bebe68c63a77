"""Tables of indicators and of the order in which they changed, from which agents take their differences."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.state.base import Base, TenantOwned, UtcDateTime

ROW_ID = BigInteger().with_variant(Integer, "sqlite")


class Indicator(TenantOwned, Base):
    """A file, address, domain, URL or certificate with the action to take on it."""

    __tablename__ = "indicators"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    indicator_type: Mapped[str] = mapped_column(String(32))
    """FileSha1, FileSha256, FileMd5, CertificateThumbprint, IpAddress, DomainName or Url."""
    indicator_value: Mapped[str] = mapped_column(String(2048))
    match_value: Mapped[str] = mapped_column(String(2048))
    """The value in the one form in which it is compared: lower case, without what carries no meaning."""
    action: Mapped[str] = mapped_column(String(32))
    application: Mapped[str | None] = mapped_column(String(300))
    title: Mapped[str] = mapped_column(String(500))
    description: Mapped[str] = mapped_column(Text, default="")
    severity: Mapped[str] = mapped_column(String(16), default="Informational")
    recommended_actions: Mapped[str | None] = mapped_column(Text)
    expiration_time: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    generate_alert: Mapped[bool] = mapped_column(default=False)
    rbac_group_names: Mapped[list[str]] = mapped_column(JSON, default=list)
    category: Mapped[int | None] = mapped_column()
    mitre_techniques: Mapped[list[str]] = mapped_column(JSON, default=list)
    educate_url: Mapped[str | None] = mapped_column(String(2048))
    external_id: Mapped[str | None] = mapped_column(String(300))
    bypass_duration_hours: Mapped[int | None] = mapped_column()
    source: Mapped[str | None] = mapped_column(String(200))
    source_type: Mapped[str | None] = mapped_column(String(16))
    created_by: Mapped[str] = mapped_column(String(200))
    created_by_display_name: Mapped[str | None] = mapped_column(String(200))
    created_by_source: Mapped[str | None] = mapped_column(String(32), default="PublicApi")
    creation_time: Mapped[datetime] = mapped_column(UtcDateTime)
    last_update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    last_updated_by: Mapped[str | None] = mapped_column(String(200))
    historical_detection: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        Index(None, "tenant_id", "indicator_type", "match_value", unique=True),
        Index(None, "tenant_id", "last_update_time"),
        # An id is never given again: alerts name the indicator that they came from by it.
        {"sqlite_autoincrement": True},
    )


class IndicatorChange(TenantOwned, Base):
    """One change of the list; an agent that knows revision N asks for the rows above N."""

    __tablename__ = "indicator_changes"

    revision: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    indicator_id: Mapped[int] = mapped_column(ROW_ID)
    deleted: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        Index(None, "tenant_id", "revision"),
        {"sqlite_autoincrement": True},
    )


class LookbackCursor(Base):
    """Up to which revision changed indicators were matched with the stored past. One row."""

    __tablename__ = "lookback_cursor"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(ROW_ID, default=0)
