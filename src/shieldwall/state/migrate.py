"""Brings the schema of the state to the newest revision, from wherever the package is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from shieldwall.state.base import UtcDateTime

FOLDER = Path(__file__).parent / "migrations"

_LOCK = 0x5348574D
"""Name of the advisory lock, any number that nothing else in the database uses."""


class SchemaTooNewError(RuntimeError):
    """A newer version of the server has written this state."""


def upgrade(engine: Engine) -> None:
    """Apply the missing revisions in one transaction; servers that start at once take turns.

    SchemaTooNewError: the state is of a newer version of the server.
    """
    with engine.connect() as connection:
        if not _missing(connection):
            return
    with _exclusive(engine) as connection:
        if _missing(connection):
            command.upgrade(configuration(connection), "head")


def configuration(connection: Connection) -> Config:
    """Alembic's settings for work on this connection, within the transaction that it is in."""
    settings = Config()
    settings.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings


def render_type(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our column types into a revision as plain ones: a revision must not change with the models."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, UtcDateTime) else False


@contextmanager
def _exclusive(engine: Engine) -> Iterator[Connection]:
    """A writing transaction that no other migration shares."""
    with engine.connect().execution_options(shieldwall_write=True) as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            _foreign_keys(connection, on=False)
        try:
            with connection.begin():
                if not sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _LOCK})
                yield connection
                if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise RuntimeError("the migration would leave rows that refer to nothing")
        finally:
            if sqlite:
                _foreign_keys(connection, on=True)


def _foreign_keys(connection: Connection, *, on: bool) -> None:
    # SQLite changes a table by making it anew and dropping the old one, which would delete what refers to
    # it; the switch does nothing inside a transaction, hence the driver's own connection.
    connection.connection.driver_connection.execute(  # type: ignore[union-attr]
        f"PRAGMA foreign_keys={'ON' if on else 'OFF'}"
    )


def _missing(connection: Connection) -> bool:
    """Whether there are revisions to apply."""
    scripts = ScriptDirectory(str(FOLDER))
    found: str | None = None
    if connection.dialect.has_table(connection, "alembic_version"):
        found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNewError(f"the state has revision {found}, which this version does not know")
    return found != scripts.get_current_head()
