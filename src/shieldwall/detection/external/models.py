"""Tables of alerts that other products sent, of the clocks of those products, and of offered indicators."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from shieldwall.alerts.models import Alert
from shieldwall.detection.models import ROW_ID
from shieldwall.state.base import Base, TenantOwned, UtcDateTime

SOURCE = "ThirdPartySensors"
"""The documented source of alerts of other products."""

WAITING = "Waiting"
"""Something of it may still be found in telemetry that comes late."""
SETTLED = "Settled"
GIVEN_UP = "GivenUp"

OFFERED = "Offered"
ACCEPTED = "Accepted"
"""Decided, by somebody or by policy, but not on the list yet."""
APPLIED = "Applied"
REJECTED = "Rejected"
FAILED = "Failed"
STATES = (OFFERED, ACCEPTED, APPLIED, REJECTED, FAILED)


class ReceivedAlert(TenantOwned, Base):
    """An alert of another product: what it said, and how far we know whom it is about."""

    __tablename__ = "external_alerts"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    identity: Mapped[str] = mapped_column(String(64))
    """Hash of vendor, product and the product's own id; of the content where it has none."""
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), index=True)
    vendor: Mapped[str] = mapped_column(String(200))
    product: Mapped[str] = mapped_column(String(200))
    sensor: Mapped[str] = mapped_column(String(200))
    partner_id: Mapped[str | None] = mapped_column(String(500))
    format: Mapped[str] = mapped_column(String(16))
    received_time: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_time: Mapped[datetime] = mapped_column(UtcDateTime)
    digests: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Of the contents that came, the newest last: what came already changes nothing."""
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The newest content, in our schema."""
    raw: Mapped[str] = mapped_column(Text, default="")
    """The newest record as it came, cut to a bound."""
    state: Mapped[str] = mapped_column(String(16), default=WAITING)
    tries: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[datetime | None] = mapped_column(UtcDateTime)
    wanted: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Addresses of which late telemetry would settle it."""
    confidence: Mapped[int] = mapped_column(default=0)
    """From 0 to 100: how sure it is that the device, and the process, are the right ones."""
    resolution: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    __table_args__ = (
        Index(None, "tenant_id", "identity", unique=True),
        Index(None, "state", "next_try"),
    )


def received_alerts(session: Session, alerts: Iterable[Alert]) -> dict[str, ReceivedAlert]:
    """What other products said of those among the alerts that came from them, by the alerts' ids."""
    numbers = [alert.id for alert in alerts if alert.detection_source == SOURCE]
    if not numbers:
        return {}
    rows = session.scalars(select(ReceivedAlert).where(ReceivedAlert.alert_id.in_(numbers)))
    return {row.alert_id: row for row in rows}


class ExternalSource(TenantOwned, Base):
    """One sensor that alerts come from, and how far its clock is ahead of our devices' clocks."""

    __tablename__ = "external_sources"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    vendor: Mapped[str] = mapped_column(String(200))
    product: Mapped[str] = mapped_column(String(200))
    sensor: Mapped[str] = mapped_column(String(200))
    offsets: Mapped[list[float]] = mapped_column(JSON, default=list)
    """Seconds between its time of a connection and ours, of the last sure matches."""
    alerts: Mapped[int] = mapped_column(default=0)
    first_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "tenant_id", "vendor", "product", "sensor", unique=True),)


class IndicatorPolicy(TenantOwned, Base):
    """What a tenant does with the malicious values of external alerts. One row a tenant."""

    __tablename__ = "external_indicator_policies"

    tenant_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """In order; the first that fits an alert decides."""
    allowed: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Addresses, networks, domains with all below them, and hashes that are never offered."""
    updated_time: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_by: Mapped[str] = mapped_column(String(200))


class IndicatorOffer(TenantOwned, Base):
    """A value that an external alert calls malicious; each value is offered once."""

    __tablename__ = "external_indicator_offers"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), index=True)
    """The first alert that named it."""
    indicator_type: Mapped[str] = mapped_column(String(32))
    indicator_value: Mapped[str] = mapped_column(String(2048))
    digest: Mapped[str] = mapped_column(String(64))
    """Hash of the type and the comparable value."""
    action: Mapped[str] = mapped_column(String(32))
    severity: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(String(500))
    source: Mapped[str] = mapped_column(String(401))
    """Vendor and product."""
    days: Mapped[int]
    """For how long it goes on the list."""
    state: Mapped[str] = mapped_column(String(16), default=OFFERED)
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(String(200))
    decided_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str | None] = mapped_column(String(1000))
    indicator_id: Mapped[int | None] = mapped_column(ROW_ID)

    __table_args__ = (
        Index(None, "tenant_id", "digest", unique=True),
        Index(None, "tenant_id", "state"),
        Index(None, "state"),
    )
