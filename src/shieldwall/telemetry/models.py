"""Tables of what was ingested, by which each batch is stored exactly once, and of where it is to go."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.state.base import Base, TenantOwned, UtcDateTime


class IngestStream(TenantOwned, Base):
    """How far one agent's spool was stored: a batch at or below ``last_sequence`` is a duplicate."""

    __tablename__ = "ingest_streams"

    device_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    stream: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Random name that the agent gives each new spool."""
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    updated_time: Mapped[datetime] = mapped_column(UtcDateTime)


class IngestGroup(Base):
    """A group of batches stored together; rows of a group not listed here are undone at start."""

    __tablename__ = "ingest_groups"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    committed_time: Mapped[datetime] = mapped_column(UtcDateTime)
    rows: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index(None, "committed_time"),)


class DataExport(TenantOwned, Base):
    """Where a tenant wants rows of hunting tables sent; see `data_exports.py`."""

    __tablename__ = "data_exports"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    key: Mapped[str] = mapped_column(String(100))
    """The name in lower case."""
    name: Mapped[str] = mapped_column(String(100))
    target: Mapped[str] = mapped_column(String(40))
    """Which of the API's properties says where to."""
    properties: Mapped[dict[str, Any]] = mapped_column(JSON)
    logs: Mapped[list[dict[str, Any]]] = mapped_column(JSON)

    __table_args__ = (Index(None, "tenant_id", "key", unique=True),)
