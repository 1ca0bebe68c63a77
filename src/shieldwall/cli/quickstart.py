"""The first tenant and the application that `shieldwall run` has ready, kept for the next start."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select

from shieldwall.identity import applications, permissions
from shieldwall.identity.models import Application, Tenant
from shieldwall.settings import Settings
from shieldwall.state.engine import Database

TENANT_NAME = "default"
APPLICATION_NAME = "quickstart"


@dataclass(frozen=True)
class Quickstart:
    """What a client needs to call the server on this machine."""

    url: str
    tenant_id: str
    client_id: str
    client_secret: str
    ca: str


def path(settings: Settings) -> Path:
    return settings.secrets / "quickstart.json"


def load(settings: Settings) -> Quickstart | None:
    """What an earlier start left, if any."""
    try:
        return Quickstart(**json.loads(path(settings).read_text()))
    except FileNotFoundError:
        return None


def prepare(settings: Settings, database: Database, ca: Path) -> Quickstart:
    """The default tenant and a working client of it, made anew whenever the kept secret fails."""
    with database.system_read() as session:
        tenant_id = session.scalar(select(Tenant.id).where(Tenant.name == TENANT_NAME))
    if tenant_id is None:
        tenant_id = applications.create_tenant(database, TENANT_NAME).id
    kept = load(settings)
    if kept and kept.tenant_id == tenant_id and _works(database, kept):
        found = Quickstart(settings.url, tenant_id, kept.client_id, kept.client_secret, str(ca))
        _grant_all(database, found)
    else:
        with database.read(tenant_id) as session:
            existing = session.scalar(select(Application.id).where(Application.name == APPLICATION_NAME))
        if existing:
            client_id = existing
            secret = applications.rotate_secret(database, tenant_id, client_id)
        else:
            application, secret = applications.create_application(
                database, tenant_id, APPLICATION_NAME, sorted(permissions.APPLICATION_PERMISSIONS)
            )
            client_id = application.id
        found = Quickstart(settings.url, tenant_id, client_id, secret, str(ca))
    _save(path(settings), found)
    return found


def _grant_all(database: Database, kept: Quickstart) -> None:
    """Let the client do what this version has added."""
    every = sorted(permissions.APPLICATION_PERMISSIONS)
    with database.read(kept.tenant_id) as session:
        held = session.scalar(select(Application.roles).where(Application.id == kept.client_id))
    if held is not None and sorted(held) != every:
        applications.update_application(database, kept.tenant_id, kept.client_id, roles=every)


def _works(database: Database, kept: Quickstart) -> bool:
    try:
        applications.authenticate(database, kept.tenant_id, kept.client_id, kept.client_secret)
    except Exception:
        return False
    return True


def _save(target: Path, value: Quickstart) -> None:
    scratch = target.with_suffix(".new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(value), file, indent=1)
    scratch.replace(target)
