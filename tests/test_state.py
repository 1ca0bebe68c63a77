"""Tenant scope of the state: no session reaches another tenant's rows."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from shieldwall.identity.models import Application
from shieldwall.state.engine import Database, TenantScopeError
from shieldwall.times import now

from .conftest import OTHER_TENANT, TENANT


def application(identifier: str, tenant_id: str | None = None) -> Application:
    return Application(id=identifier, tenant_id=tenant_id, name=identifier, roles=[], created_time=now())


def test_rows_get_the_tenant_of_their_session(database: Database) -> None:
    with database.session(TENANT) as session:
        session.add(application("a"))
    with database.read(TENANT) as session:
        assert session.scalars(select(Application.tenant_id)).all() == [TENANT]


def test_another_tenants_rows_are_invisible(database: Database) -> None:
    with database.session(TENANT) as session:
        session.add(application("a"))
    with database.read(OTHER_TENANT) as session:
        assert session.scalars(select(Application)).all() == []
        assert session.get(Application, "a") is None


def test_writing_another_tenants_row_is_refused(database: Database) -> None:
    with pytest.raises(TenantScopeError), database.session(TENANT) as session:
        session.add(application("a", OTHER_TENANT))
        session.flush()


def test_a_session_needs_a_tenant(database: Database) -> None:
    for tenant_id in ("", "*"):
        with pytest.raises(TenantScopeError), database.session(tenant_id):
            pass
