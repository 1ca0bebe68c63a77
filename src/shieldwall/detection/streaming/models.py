"""Table of stored groups that continuous rules have still to look at."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from shieldwall.state.base import Base, UtcDateTime


class MissedGroup(Base):
    """A group whose rows could not be looked at when they were stored, for want of memory or time."""

    __tablename__ = "missed_groups"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    rows: Mapped[dict[str, int]] = mapped_column(JSON)
    """How many by table."""
    tries: Mapped[int] = mapped_column(default=1)
    next_try: Mapped[datetime] = mapped_column(UtcDateTime)
