"""Fixtures that every part shares: a real state on SQLite and PostgreSQL, and one embedded ClickHouse."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shieldwall.identity.models import Tenant
from shieldwall.settings import Settings
from shieldwall.state.engine import Base, Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

# Far from UTC, so that a time that is taken for local anywhere makes a test fail.
os.environ["TZ"] = "America/New_York"
time.tzset()

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test run's own, in a scratch folder."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folder = binaries[-1] if binaries else Path(shutil.which("initdb") or "/nowhere").parent
    if not (folder / "initdb").exists():
        pytest.fail("PostgreSQL's initdb is missing; `make test` installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("postgres")
    os.chmod(home.parent.parent, 0o755)
    os.chmod(home.parent, 0o755)
    # PostgreSQL refuses to run as root.
    prefix: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = home / "data"
    subprocess.run(
        [
            *prefix,
            folder / "initdb",
            "-D",
            data,
            "-U",
            "shieldwall",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ],
        check=True,
        capture_output=True,
        cwd=home,
    )
    server = subprocess.Popen(
        [*prefix, folder / "postgres", "-D", data, "-p", str(port), "-k", home, "-h", "127.0.0.1", "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home,
    )
    try:
        deadline = time.monotonic() + 30
        while subprocess.run(
            [folder / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], capture_output=True
        ).returncode:
            if time.monotonic() > deadline:
                pytest.fail("PostgreSQL did not start")
            time.sleep(0.1)
        yield f"postgresql+psycopg://shieldwall@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty state with two tenants; each test that asks for it runs on both databases."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    database = Database(url)
    Base.metadata.drop_all(database.engine)
    Base.metadata.create_all(database.engine)
    with database.system_session() as session:
        session.add_all(
            [
                Tenant(id=TENANT, name="Contoso", created_time=now()),
                Tenant(id=OTHER_TENANT, name="Fabrikam", created_time=now()),
            ]
        )
    yield database
    database.close()


@pytest.fixture(scope="session")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TelemetryStore]:
    """The run's one embedded ClickHouse: a process can hold only one. Tests keep apart by their tenants."""
    store = TelemetryStore.open(Settings(data=tmp_path_factory.mktemp("telemetry")))
    yield store
    store.close()
