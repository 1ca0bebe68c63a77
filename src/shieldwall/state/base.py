"""What tables share: the declarative base, UTC times, the tenant on each row, and which devices it is of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Dialect, MetaData, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

TENANT_ID = String(36)


class Base(DeclarativeBase):
    """Root of all models; constraint names are fixed so that migrations can name them on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class TenantOwned:
    """Mixin of every model whose rows belong to one tenant; a tenant's session sees only its own rows."""

    tenant_id: Mapped[str] = mapped_column(TENANT_ID, nullable=False)


class DeviceScoped:
    """Mixin of models whose rows are of devices; a caller limited to device groups sees only theirs."""

    @classmethod
    def within(cls, groups: Collection[int]) -> ColumnElement[bool]:
        """The condition of rows that are of devices in ``groups``; 0 stands for devices of no group."""
        raise NotImplementedError


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, kept without zone so that SQLite and PostgreSQL order it alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times must carry a zone")
        if value.tzinfo is UTC:
            return value.replace(tzinfo=None)
        return value.astimezone(UTC).replace(tzinfo=None)

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any] | None:
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)

        # What SQLAlchemy writes, in a fraction of the time; rows of one alert have one time.
        @lru_cache(maxsize=256)
        def written(value: datetime | None) -> str | None:
            plain = self.process_bind_param(value, dialect)
            return None if plain is None else plain.isoformat(" ", "microseconds")

        return written

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)
