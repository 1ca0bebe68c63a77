"""Tables of detection rules: those of a tenant's own, what it changed of any, when each ran and what it asks
of devices."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.devices.models import device_ids
from shieldwall.state.base import TENANT_ID, Base, DeviceScoped, TenantOwned, UtcDateTime

ROW_ID = BigInteger().with_variant(Integer, "sqlite")
RULE_ID = String(64)


class StoredRule(TenantOwned, Base):
    """A rule that one tenant has: its own, or imported by it. Columns are those of ``rule.Rule``."""

    __tablename__ = "detection_rules"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    id: Mapped[str] = mapped_column(RULE_ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(300))
    match_name: Mapped[str] = mapped_column(String(300))
    """The name in lower case: it is unique, however it is written."""
    query: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(String(500))
    severity: Mapped[str] = mapped_column(String(16))
    category: Mapped[str] = mapped_column(String(64))
    techniques: Mapped[list[str]] = mapped_column(JSON, default=list)
    description: Mapped[str] = mapped_column(Text, default="")
    recommended_action: Mapped[str] = mapped_column(Text, default="")
    period: Mapped[int] = mapped_column()
    lookback: Mapped[int | None] = mapped_column()
    entities: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    details: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    source: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str] = mapped_column(Text, default="")
    created_by: Mapped[str] = mapped_column(String(200))
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    modified_by: Mapped[str] = mapped_column(String(200))
    modified_time: Mapped[datetime] = mapped_column(UtcDateTime)
    query_modified_time: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "tenant_id", "match_name", unique=True),)


class RuleTuning(TenantOwned, Base):
    """What a tenant decided about a rule, whoever wrote it; an update of the rule leaves it as it is."""

    __tablename__ = "detection_rule_tunings"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    rule_id: Mapped[str] = mapped_column(RULE_ID, primary_key=True)
    enabled: Mapped[bool] = mapped_column(default=True)
    severity: Mapped[str | None] = mapped_column(String(16))
    """Instead of the rule's own."""
    device_groups: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """Names; ``""`` stands for devices of no group. None: all devices."""
    actions: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """What to do on a hit, as ``actions.ResponseAction`` writes it."""
    modified_by: Mapped[str] = mapped_column(String(200))
    modified_time: Mapped[datetime] = mapped_column(UtcDateTime)


class RuleSuppression(TenantOwned, Base):
    """Hits of one rule that raise no alert: those with one value in one column."""

    __tablename__ = "detection_rule_suppressions"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    rule_id: Mapped[str] = mapped_column(RULE_ID)
    column: Mapped[str] = mapped_column(String(200))
    value: Mapped[str] = mapped_column(String(2048))
    device: Mapped[str | None] = mapped_column(String(255))
    """Id or name of the one device that it is for."""
    device_group: Mapped[str | None] = mapped_column(String(200))
    product: Mapped[str | None] = mapped_column(String(200))
    """The source of records that it is for, as the column ``Source`` names it."""
    reason: Mapped[str] = mapped_column(String(1000))
    expires_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(200))
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    hits: Mapped[int] = mapped_column(BigInteger, default=0)
    """How many it has kept from raising an alert."""

    __table_args__ = (Index(None, "tenant_id", "rule_id"), {"sqlite_autoincrement": True})


class RuleRevision(Base):
    """Counts the changes of rules and tunings of all tenants. One row."""

    __tablename__ = "detection_rule_revision"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(ROW_ID, default=0)


class RuleCursor(TenantOwned, Base):
    """Up to which time of ingestion a scheduled rule has looked, and when it looks on."""

    __tablename__ = "detection_rule_cursors"

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, primary_key=True)
    rule_id: Mapped[str] = mapped_column(RULE_ID, primary_key=True)
    done_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """None: it has not looked yet, and begins with all of the past that it may see."""
    due: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    """The end of the next window; None where none follows, as for a continuous rule."""


class RuleRun(TenantOwned, Base):
    """One look of a rule at one window of ingestion time, and what came of it."""

    __tablename__ = "detection_rule_runs"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    rule_id: Mapped[str] = mapped_column(RULE_ID)
    kind: Mapped[str] = mapped_column(String(16))
    """Initial, Scheduled, Manual, or Continuous: all groups of one hour in which the rule hit."""
    window_start: Mapped[datetime] = mapped_column(UtcDateTime)
    window_end: Mapped[datetime] = mapped_column(UtcDateTime)
    started: Mapped[datetime] = mapped_column(UtcDateTime)
    seconds: Mapped[float] = mapped_column(default=0.0)
    rows: Mapped[int] = mapped_column(BigInteger, default=0)
    """Rows that the query gave."""
    alerts: Mapped[int] = mapped_column(default=0)
    """Alerts that are new."""
    repeated: Mapped[int] = mapped_column(BigInteger, default=0)
    """Rows of alerts that were there before."""
    suppressed: Mapped[int] = mapped_column(BigInteger, default=0)
    over_limit: Mapped[int] = mapped_column(BigInteger, default=0)
    """Rows that raised no alert since the run had raised as many as it may."""
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(None, "tenant_id", "rule_id", "kind", "window_end", unique=True),
        Index(None, "window_end"),
        {"sqlite_autoincrement": True},
    )


class RuleResponse(TenantOwned, DeviceScoped, Base):
    """An action that a rule asks for because of an alert; written with the alert, carried out afterwards."""

    __tablename__ = "detection_rule_responses"

    id: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    rule_id: Mapped[str] = mapped_column(RULE_ID)
    alert_id: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(40))
    target: Mapped[str] = mapped_column(String(128))
    """A device's id, or a file's hash."""
    device_id: Mapped[str] = mapped_column(String(40))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    status: Mapped[str] = mapped_column(String(16), default="Pending")
    """Pending, Done or Failed."""
    attempts: Mapped[int] = mapped_column(default=0)
    message: Mapped[str | None] = mapped_column(Text)
    """Why it failed, or the id of what was asked for."""
    created_time: Mapped[datetime] = mapped_column(UtcDateTime)
    requested_by: Mapped[str] = mapped_column(String(200))
    """Who put the action on the rule."""

    __table_args__ = (
        Index(None, "tenant_id", "alert_id", "kind", "target", unique=True),
        Index(None, "status", "id"),
        {"sqlite_autoincrement": True},
    )

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        return cls.device_id.in_(device_ids(groups))
