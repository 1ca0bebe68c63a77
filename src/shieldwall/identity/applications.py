"""Tenants and the applications that call for them: making, changing and recognising them.

Every change and its audit entry are one transaction. ApiError 400 and 404 are the caller's mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shieldwall.errors import bad_request, not_found
from shieldwall.identity import audit, client_secrets, permissions
from shieldwall.identity.models import Application, ApplicationSecret, Tenant
from shieldwall.identity.principal import Principal
from shieldwall.identity.redirects import validated_redirects
from shieldwall.identity.standing import Standing, standing
from shieldwall.state.engine import Database
from shieldwall.times import now

SECRET_DAYS = 180
SECRET_DAYS_LIMIT = 730
SECRETS_LIMIT = 10
"""Most secrets that one application has at once, expired ones not counted."""
RESERVED_TENANTS = frozenset({"common", "organizations", "consumers", "adfs"})

_TENANT_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Actor = Principal | str


class SignInError(Exception):
    """Why a client was not recognised: ``application``, ``secret``, ``expired`` or ``assertion``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def create_tenant(database: Database, name: str, actor: Actor = "system") -> Tenant:
    """Make a tenant. Its name stands in URLs, so it is letters, digits, dots and dashes, as a domain is."""
    if not _TENANT_NAME.fullmatch(name) or name.lower() in RESERVED_TENANTS or _is_guid(name):
        raise bad_request("A tenant's name is letters, digits, dots and dashes, such as contoso.com.")
    tenant = Tenant(id=str(uuid4()), name=name, created_time=now())
    try:
        with database.system_session() as session:
            if find_tenant(session, name):
                raise bad_request(f"There is a tenant named {name} already.")
            session.add(tenant)
            session.flush()
            audit.record(session, actor, "tenant.create", tenant.id, tenant_id=tenant.id)
    except IntegrityError:
        raise bad_request(f"There is a tenant named {name} already.") from None
    return tenant


def list_tenants(database: Database) -> Sequence[Tenant]:
    with database.system_read() as session:
        return session.scalars(select(Tenant).order_by(Tenant.name)).all()


def find_tenant(session: Session, name_or_id: str) -> Tenant | None:
    """The tenant with this id, or with this name in any case."""
    if not _TENANT_NAME.fullmatch(name_or_id):
        return None
    wanted = name_or_id.lower()
    return session.scalar(select(Tenant).where(or_(Tenant.id == wanted, func.lower(Tenant.name) == wanted)))


def create_application(
    database: Database,
    tenant_id: str,
    name: str,
    roles: Iterable[str],
    *,
    days: int = SECRET_DAYS,
    public: bool = False,
    multi_tenant: bool = False,
    delegated: Iterable[str] = (),
    redirect_uris: Iterable[str] = (),
    actor: Actor = "system",
) -> tuple[Application, str]:
    """Make an application with one secret, which is returned here and can never be read again.

    A public one has no secret and no roles of its own: it acts for people only.
    """
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise bad_request("An application's name is 1 to 200 printable characters.")
    application = Application(
        id=str(uuid4()),
        name=name,
        roles=permissions.validated(roles),
        public=public,
        multi_tenant=multi_tenant,
        delegated=permissions.validated_delegated(delegated),
        redirect_uris=validated_redirects(redirect_uris, public=public),
        created_time=now(),
        secrets=[],
        certificates=[],
    )
    if public and application.roles:
        raise bad_request(
            "A public application cannot prove who it is, so it has no application permissions."
        )
    secret = ""
    if not public:
        secret, kept = _new_secret(application, days)
        application.secrets.append(kept)
    try:
        with database.session(tenant_id) as session:
            session.add(application)
            session.flush()
            detail = _detail(application) | {"secrets": [kept.id for kept in application.secrets]}
            audit.record(session, actor, "application.create", application.id, detail=detail)
    except IntegrityError:
        raise bad_request(f"There is an application named {name} already.") from None
    return application, secret


def list_applications(database: Database, tenant_id: str) -> Sequence[Application]:
    """The tenant's applications with their secrets' hints and ends, by name."""
    with database.read(tenant_id) as session:
        return session.scalars(select(Application).order_by(Application.name)).all()


def update_application(
    database: Database,
    tenant_id: str,
    application_id: str,
    *,
    roles: Iterable[str] | None = None,
    disabled: bool | None = None,
    multi_tenant: bool | None = None,
    delegated: Iterable[str] | None = None,
    redirect_uris: Iterable[str] | None = None,
    actor: Actor = "system",
) -> Application:
    """Change what an application may do; its tokens lose removed roles within seconds."""
    with database.session(tenant_id) as session:
        application = existing_application(session, application_id)
        if roles is not None:
            application.roles = permissions.validated(roles)
        if application.public and application.roles:
            raise bad_request("A public application cannot have application permissions.")
        if disabled is not None:
            application.disabled = disabled
        if multi_tenant is not None:
            application.multi_tenant = multi_tenant
        if delegated is not None:
            application.delegated = permissions.validated_delegated(delegated)
        if redirect_uris is not None:
            application.redirect_uris = validated_redirects(redirect_uris, public=application.public)
        detail = _detail(application)
        audit.record(session, actor, "application.update", application_id, detail=detail)
    return application


def rotate_secret(
    database: Database,
    tenant_id: str,
    application_id: str,
    *,
    days: int = SECRET_DAYS,
    revoke_others: bool = False,
    actor: Actor = "system",
) -> str:
    """Give an application one more secret, returned here once; the others go on until their own ends.

    ``revoke_others`` ends them now. Secrets that have expired are removed.
    """
    with database.session(tenant_id) as session:
        application = existing_application(session, application_id)
        if application.public:
            raise bad_request("A public application has no secrets.")
        time = now()
        for old in list(application.secrets):
            if revoke_others or old.expires_time <= time:
                application.secrets.remove(old)
        if len(application.secrets) >= SECRETS_LIMIT:
            raise bad_request(f"The application has {SECRETS_LIMIT} secrets; revoke the others first.")
        secret, kept = _new_secret(application, days)
        application.secrets.append(kept)
        detail = {"secret": kept.id, "revoked_others": revoke_others}
        audit.record(session, actor, "application.rotate", application_id, detail=detail)
    return secret


def delete_application(
    database: Database, tenant_id: str, application_id: str, *, actor: Actor = "system"
) -> None:
    """Remove an application; its tokens are refused within seconds."""
    with database.session(tenant_id) as session:
        application = existing_application(session, application_id)
        session.delete(application)
        audit.record(session, actor, "application.delete", application_id, detail={"name": application.name})


def authenticate(database: Database, tenant_id: str, application_id: str, secret: str) -> Standing:
    """The application that this secret is of; SignInError after the same time, whatever was wrong."""
    application = find_application(database, tenant_id, application_id)
    candidates = _candidates(application, secret)
    if application is None or not candidates:
        client_secrets.match_nothing(secret)
        raise SignInError("application" if application is None else "secret")
    found = next((kept for kept in candidates if client_secrets.matches(secret, kept.digest)), None)
    if found is None:
        raise SignInError("secret")
    if found.expires_time <= now():
        raise SignInError("expired")
    return application


def recognise(database: Database, tenant_id: str, application_id: str, secret: str) -> Standing | None:
    """The application, if its secret was proven lately and is still good: ``authenticate`` at no cost."""
    application = find_application(database, tenant_id, application_id)
    for kept in _candidates(application, secret):
        if kept.expires_time > now() and client_secrets.is_remembered(secret, kept.digest):
            return application
    return None


def any_application(database: Database, application_id: str) -> Application | None:
    """An enabled application of any tenant: people of others may sign in to it, if theirs consents."""
    if not _is_guid(application_id):
        return None
    with database.system_read() as session:
        found = session.get(Application, application_id.lower())
    return found if found is not None and not found.disabled else None


def find_application(database: Database, tenant_id: str, application_id: str) -> Standing | None:
    """An application that has a place in the tenant; None where it has none or is disabled."""
    return standing(database, tenant_id, application_id) if _is_guid(application_id) else None


def existing_application(session: Session, application_id: str) -> Application:
    application = session.get(Application, application_id.lower()) if _is_guid(application_id) else None
    if application is None:
        raise not_found("Application", application_id)
    return application


def _detail(application: Application) -> dict[str, object]:
    """What the audit log tells of an application that was made or changed."""
    return {
        "name": application.name,
        "roles": application.roles,
        "disabled": application.disabled,
        "delegated": application.delegated,
        "redirect_uris": application.redirect_uris,
        "public": application.public,
        "multi_tenant": application.multi_tenant,
    }


def _candidates(found: Standing | None, secret: str) -> list[ApplicationSecret]:
    """Secrets that begin alike: nearly always one at most, so that one scrypt decides."""
    hint = secret[: client_secrets.HINT_LENGTH]
    return [kept for kept in (found.application.secrets if found else ()) if kept.hint == hint]


def _new_secret(application: Application, days: int) -> tuple[str, ApplicationSecret]:
    if not 1 <= days <= SECRET_DAYS_LIMIT:
        raise bad_request(f"A secret lives 1 to {SECRET_DAYS_LIMIT} days.")
    secret = client_secrets.generate()
    kept = ApplicationSecret(
        id=str(uuid4()),
        application_id=application.id,
        digest=client_secrets.digest(secret),
        hint=secret[: client_secrets.HINT_LENGTH],
        created_time=now(),
        expires_time=now() + timedelta(days=days),
    )
    return secret, kept


def _is_guid(text: str) -> bool:
    return _GUID.fullmatch(text) is not None
