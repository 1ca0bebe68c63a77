"""Consents: a tenant lets another tenant's application in, and may take that back.

Every change and its audit entry are one transaction. ApiError 400 and 404 are the caller's mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from shieldwall.errors import not_found
from shieldwall.identity import audit
from shieldwall.identity.applications import Actor
from shieldwall.identity.models import Application, Consent
from shieldwall.identity.people import AuthorizationCode, DeviceCode, RefreshToken
from shieldwall.state.engine import Database
from shieldwall.times import now


def partner_application(session: Session, application_id: str) -> Application:
    """An application that other tenants may consent to, within a system session; ApiError 404."""
    found = session.get(Application, application_id.lower()[:36])
    if found is None or found.disabled or not found.multi_tenant:
        raise not_found("Multi-tenant application", application_id[:36])
    return found


def grant(database: Database, tenant_id: str, application_id: str, *, actor: Actor = "system") -> Consent:
    """Consent to all that the application asks for as of now; what it asks for later needs consent again."""
    with database.system_session() as session:
        application = partner_application(session, application_id)
        kept = session.get(Consent, (tenant_id, application.id))
        if kept is None:
            kept = Consent(tenant_id=tenant_id, application_id=application.id)
            session.add(kept)
        kept.roles, kept.delegated = list(application.roles), list(application.delegated)
        kept.granted_by = str(actor if isinstance(actor, str) else actor.actor)[:200]
        kept.created_time = now()
        detail = {"roles": kept.roles, "delegated": kept.delegated, "publisher": application.tenant_id}
        audit.record(session, actor, "consent.grant", application.id, detail=detail, tenant_id=tenant_id)
    return kept


def list_consents(database: Database, tenant_id: str) -> Sequence[tuple[Consent, str]]:
    """The tenant's consents with the names of their applications."""
    with database.system_read() as session:
        wanted = (
            select(Consent, Application.name)
            .join(Application, Application.id == Consent.application_id)
            .where(Consent.tenant_id == tenant_id)
            .order_by(Application.name)
        )
        return [(consent, name) for consent, name in session.execute(wanted)]


def revoke(database: Database, tenant_id: str, application_id: str, *, actor: Actor = "system") -> None:
    """Take a consent back; the application's tokens for the tenant are refused within seconds."""
    wanted = application_id.lower()[:36]
    with database.session(tenant_id) as session:
        kept = session.get(Consent, (tenant_id, wanted))
        if kept is None:
            raise not_found("Consent to application", wanted)
        session.delete(kept)
        for table in (AuthorizationCode, DeviceCode, RefreshToken):
            for row in session.scalars(select(table).where(table.application_id == wanted)):
                session.delete(row)
        audit.record(session, actor, "consent.revoke", wanted)
