"""The audit log: who did what to which thing, written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from shieldwall.identity.models import AuditEntry
from shieldwall.identity.principal import Principal
from shieldwall.times import now

TEXT_LIMIT = 2000


def record(
    session: Session,
    actor: Principal | str,
    action: str,
    target: str = "",
    outcome: str = "success",
    detail: Mapping[str, Any] | None = None,
    *,
    tenant_id: str | None = None,
    source_ip: str = "",
    message: str = "",
) -> AuditEntry:
    """Add one entry; it exists exactly if the session commits.

    The tenant is the session's own; a system session needs a ``Principal`` or ``tenant_id``. ``actor`` is an
    application id, user, device id or ``system``; ``detail`` must be JSON. Texts are cut to their columns.
    """
    entry = AuditEntry(
        tenant_id=tenant_id or (actor.tenant_id if isinstance(actor, Principal) else None),
        time=now(),
        actor=_cut(actor.actor if isinstance(actor, Principal) else actor, 200),
        action=_cut(action, 100),
        target=_cut(target, 300),
        outcome=_cut(outcome, 20),
        source_ip=_cut(source_ip, 64),
        detail={
            key: _cut(value) if isinstance(value, str) else value for key, value in (detail or {}).items()
        },
        message=_cut(message),
    )
    session.add(entry)
    return entry


def _cut(text: str, limit: int = TEXT_LIMIT) -> str:
    # PostgreSQL keeps no NUL in text, and an entry must never fail because of what it tells.
    return text.replace("\x00", "")[:limit]
