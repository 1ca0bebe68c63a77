"""The database behind the state and its sessions, each bound to one tenant unless it says otherwise.

Where the caller is limited to device groups (`scope.py`), a tenant's session reads only rows of theirs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import orjson
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import ORMExecuteState, Session, sessionmaker, with_loader_criteria

from shieldwall.state import scope
from shieldwall.state.base import Base, DeviceScoped, TenantOwned

MODEL_MODULES = (
    "shieldwall.identity.models",
    "shieldwall.identity.people",
    "shieldwall.devices.models",
    "shieldwall.telemetry.models",
    "shieldwall.detection.models",
    "shieldwall.detection.external.models",
    "shieldwall.detection.rules.models",
    "shieldwall.detection.streaming.models",
    "shieldwall.alerts.models",
    "shieldwall.alerts.entity_models",
    "shieldwall.response.models",
    "shieldwall.response.library",
    "shieldwall.investigations.models",
    "shieldwall.exposure.models",
)
"""Every module that declares tables; migrations and ``create_all`` read them."""

_ALL_TENANTS = "*"
_PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=30000",
    # Kilobytes at most: with SQLite's own two megabytes, raising 100,000 alerts takes a third longer.
    "cache_size=-65536",
    # Pages that are written to the file itself together.
    "wal_autocheckpoint=4000",
)


class TenantScopeError(RuntimeError):
    """A statement reached a tenant's table without a tenant, or with another tenant's row."""


class Database:
    """Opens transactions on the state; a writing one commits when its block ends without an error."""

    def __init__(self, url: str) -> None:
        for module in MODEL_MODULES:
            import_module(module)
        self.url = url
        self.engine = _engine(url)
        self._writers = _sessions(self.engine.execution_options(shieldwall_write=True))
        self._readers = _sessions(self.engine)

    @contextmanager
    def session(self, tenant_id: str) -> Iterator[Session]:
        """A writing transaction that sees and writes only ``tenant_id``'s rows."""
        with self._writers.begin() as session:
            session.info["tenant_id"] = _one_tenant(tenant_id)
            session.info["devices"] = scope.current()
            yield session

    @contextmanager
    def read(self, tenant_id: str) -> Iterator[Session]:
        """A transaction that only reads, and only ``tenant_id``'s rows; readers never wait for writers.

        It ends without a commit. Rows loaded in it stay readable afterwards.
        """
        with self._readers() as session:
            session.info["tenant_id"] = _one_tenant(tenant_id)
            session.info["devices"] = scope.current()
            yield session

    @contextmanager
    def system_session(self) -> Iterator[Session]:
        """A writing transaction over all tenants, for the server's own work, never with a user's query."""
        with self._writers.begin() as session:
            session.info["tenant_id"] = _ALL_TENANTS
            yield session

    @contextmanager
    def system_read(self) -> Iterator[Session]:
        """A reading transaction over all tenants, for the server's own work, never with a user's query."""
        with self._readers() as session:
            session.info["tenant_id"] = _ALL_TENANTS
            yield session

    def migrate(self) -> None:
        """Bring the schema to the newest revision."""
        from shieldwall.state.migrate import upgrade

        upgrade(self.engine)

    def close(self) -> None:
        self.engine.dispose()


def _one_tenant(tenant_id: str) -> str:
    if not tenant_id or tenant_id == _ALL_TENANTS:
        raise TenantScopeError("a tenant is needed")
    return tenant_id


def _sessions(engine: Engine) -> sessionmaker[Session]:
    sessions = sessionmaker(engine, expire_on_commit=False)
    event.listen(sessions, "do_orm_execute", _scope_reads)
    event.listen(sessions, "before_flush", _scope_writes)
    return sessions


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(
            url, pool_pre_ping=True, pool_size=10, max_overflow=20, json_deserializer=orjson.loads
        )
    connect = {"timeout": 30, "check_same_thread": False}
    engine = create_engine(url, connect_args=connect, json_deserializer=orjson.loads)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        # Transactions begin below: a writer takes its lock first, since a reader cannot turn writer safely.
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("shieldwall_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(connection: Any) -> None:
    """Turn the file to WAL; where several do so first at once, SQLite fails one of them without waiting."""
    for _ in range(100):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA journal_mode=WAL")


def _scope_reads(state: ORMExecuteState) -> None:
    tenant_id = state.session.info.get("tenant_id")
    if tenant_id == _ALL_TENANTS:
        return
    if tenant_id is None:
        raise TenantScopeError("the session has no tenant")
    if not (state.is_column_load or state.is_relationship_load):
        state.statement = state.statement.options(
            with_loader_criteria(
                TenantOwned, lambda owner: owner.tenant_id == tenant_id, include_aliases=True
            )
        )
        _scope_devices(state)


def _scope_devices(state: ORMExecuteState) -> None:
    reach: scope.Reach = state.session.info.get("devices")
    if reach is None:
        return
    groups = sorted(reach.groups)
    state.statement = state.statement.options(
        *(
            with_loader_criteria(mapper.class_, mapper.class_.within(groups), include_aliases=True)
            for mapper in Base.registry.mappers
            if issubclass(mapper.class_, DeviceScoped)
        )
    )


@contextmanager
def unscoped(session: Session) -> Iterator[None]:
    """Let a session see all devices of its tenant, to tell a refusal from what is not there."""
    kept = session.info.pop("devices", None)
    try:
        yield
    finally:
        session.info["devices"] = kept


def _scope_writes(session: Session, _context: Any, _instances: Any) -> None:
    tenant_id = session.info.get("tenant_id")
    if tenant_id is None:
        raise TenantScopeError("the session has no tenant")
    for row in (*session.new, *session.dirty, *session.deleted):
        if not isinstance(row, TenantOwned):
            continue
        if tenant_id == _ALL_TENANTS:
            if row.tenant_id is None:
                raise TenantScopeError(f"{type(row).__name__} without a tenant")
        elif row.tenant_id is None:
            row.tenant_id = tenant_id
        elif row.tenant_id != tenant_id:
            raise TenantScopeError(f"{type(row).__name__} of another tenant")


__all__ = ["Base", "Database", "TenantScopeError", "unscoped"]
