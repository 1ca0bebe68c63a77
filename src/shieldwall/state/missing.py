"""Why an entity was not found: there is none, or the caller's device groups hide it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from shieldwall.errors import ApiError, not_found
from shieldwall.state.base import Base
from shieldwall.state.engine import unscoped


def missing(session: Session, kind: str, model: type[Base], identifier: object) -> ApiError:
    """The refusal of the ``model`` with this primary key, which the session did not find."""
    with unscoped(session):
        return refusal(kind, str(identifier), session.get(model, identifier) is not None)


def refusal(kind: str, identifier: str, hidden: bool) -> ApiError:
    """403 for what is there but hidden, else 404."""
    if hidden:
        return ApiError(403, "Forbidden", f"{kind} {identifier[:100]} is outside the user's device groups.")
    return not_found(kind, identifier[:100])
