"""What an application may do in a tenant: in its own what it was given, in another what that consented to."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from shieldwall.identity.models import Application, Consent
from shieldwall.state.engine import Database


@dataclass(frozen=True)
class Standing:
    """An application in one tenant."""

    application: Application
    tenant_id: str
    roles: list[str]
    delegated: list[str]

    @property
    def id(self) -> str:
        return self.application.id

    @property
    def name(self) -> str:
        return self.application.name


def standing(database: Database, tenant_id: str, application_id: str) -> Standing | None:
    """The application as ``tenant_id`` knows it; None where it has no place there or is disabled."""
    with database.system_read() as session:
        return find_standing(session, tenant_id, application_id)


def find_standing(session: Session, tenant_id: str, application_id: str) -> Standing | None:
    """The same within a system session."""
    application = session.get(Application, application_id.lower()[:36])
    if application is None or application.disabled:
        return None
    if application.tenant_id == tenant_id:
        return Standing(application, tenant_id, application.roles, application.delegated)
    consent = session.get(Consent, (tenant_id, application.id)) if application.multi_tenant else None
    if consent is None:
        return None
    # What the application itself no longer asks for is gone everywhere.
    return Standing(
        application,
        tenant_id,
        sorted(set(consent.roles) & set(application.roles)),
        sorted(set(consent.delegated) & set(application.delegated)),
    )
