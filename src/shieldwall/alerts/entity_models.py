"""Tables of correlation: which entities each alert names, and how widely each entity was seen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.state.base import TENANT_ID, Base, TenantOwned, UtcDateTime

KEY = String(24)


class AlertLink(TenantOwned, Base):
    """An entity that an alert names; see ``alerts.links``."""

    __tablename__ = "alert_links"

    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    last_time: Mapped[datetime] = mapped_column(UtcDateTime)
    """Of the alert's last event."""

    __table_args__ = (
        Index(None, "tenant_id", "key", "last_time"),
        Index(None, "last_time"),
        # Rows are found by either key and never by a number of their own.
        {"sqlite_with_rowid": False},
    )


class OwnedName(TenantOwned, Base):
    """A name or address of a device, by the key under which alerts of other devices name it."""

    __tablename__ = "owned_names"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    owner_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    last_time: Mapped[datetime] = mapped_column(UtcDateTime)
    """When an alert of the device last told so, to within half a day: addresses go from one to another."""

    __table_args__ = ({"sqlite_with_rowid": False},)


class SeenEntity(TenantOwned, Base):
    """How widely one entity was seen in a tenant's alerts. Sets are bitmaps: what counts is few or many."""

    __tablename__ = "seen_entities"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    alerts: Mapped[int] = mapped_column(BigInteger)
    devices: Mapped[bytes] = mapped_column(LargeBinary(32))
    titles: Mapped[int] = mapped_column(BigInteger)
    days: Mapped[int] = mapped_column(BigInteger)
    first_time: Mapped[datetime] = mapped_column(UtcDateTime)
    last_time: Mapped[datetime] = mapped_column(UtcDateTime)
    """Of the newest event of these alerts; what was not seen for long is forgotten."""

    # No index on the time: each alert would have to write it for each of its entities.
    __table_args__ = ({"sqlite_with_rowid": False},)
