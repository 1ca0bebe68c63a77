"""The migrated schema is exactly what the models say, on both databases, however servers start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, String, create_engine, inspect, text

from shieldwall.identity.applications import create_application, create_tenant
from shieldwall.identity.models import Tenant
from shieldwall.state.engine import Base, Database
from shieldwall.state.migrate import SchemaTooNewError, _exclusive, upgrade
from shieldwall.times import now


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    else:
        server = request.getfixturevalue("postgres_url")
        name = f"migrations_{uuid4().hex}"
        admin = create_engine(server, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        database = Database(re.sub(r"/postgres$", f"/{name}", server))
    yield database
    database.close()


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))


def test_the_migrated_schema_is_that_of_the_models(empty: Database) -> None:
    assert differences(empty.engine)
    empty.migrate()
    assert differences(empty.engine) == []


def test_a_second_start_changes_nothing(empty: Database) -> None:
    empty.migrate()
    with empty.system_session() as session:
        session.add(Tenant(id=str(uuid4()), name="kept", created_time=now()))
    empty.migrate()
    with empty.engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM tenants")) == "kept"


def test_servers_that_start_at_once_all_find_the_schema(empty: Database) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def start() -> None:
        database = Database(empty.url)
        together.wait()
        try:
            database.migrate()
        except BaseException as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert differences(empty.engine) == []


def test_a_failed_migration_leaves_nothing_behind(empty: Database) -> None:
    def fail_halfway() -> None:
        with _exclusive(empty.engine) as connection:
            connection.execute(text("CREATE TABLE half (id INTEGER)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert inspect(empty.engine).get_table_names() == []
    empty.migrate()
    assert differences(empty.engine) == []


def test_a_state_of_a_newer_version_is_refused(empty: Database) -> None:
    empty.migrate()
    with empty.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNewError, match="9999"):
        upgrade(empty.engine)


def test_a_table_made_anew_keeps_what_refers_to_it(empty: Database) -> None:
    """How SQLite changes a table; with its foreign keys on, that would delete the secrets."""
    empty.migrate()
    tenant = create_tenant(empty, "contoso.com")
    create_application(empty, tenant.id, "playbook", ["Machine.Scan"])
    with _exclusive(empty.engine) as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("applications") as batch:
            batch.alter_column("name", type_=String(300))
    with empty.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM application_secrets")) == 1


def test_foreign_keys_hold_again_after_a_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    with database.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()


def test_dangling_references_are_never_committed(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()

    def orphan() -> None:
        with _exclusive(database.engine) as connection:
            connection.execute(
                text(
                    "INSERT INTO application_secrets VALUES"
                    " ('s', 'nobody', 'd', 'h', '2026-01-01', '2026-01-01', 't')"
                )
            )

    with pytest.raises(RuntimeError, match="refer to nothing"):
        orphan()
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM application_secrets")) == 0
    database.close()


def test_the_first_revision_is_not_written_anew_under_later_ones(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    copy = shutil.copytree(root / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    versions = copy / "shieldwall" / "state" / "migrations" / "versions"
    before = {path: path.read_bytes() for path in versions.iterdir()}
    done = subprocess.run(
        [sys.executable, root / "scripts" / "new_migration.py", "--initial"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert {path: path.read_bytes() for path in versions.iterdir()} == before
    assert done.returncode != 0
    assert "0002_library_and_investigations.py" in done.stderr
