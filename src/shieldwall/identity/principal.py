"""Who is calling, once the token was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shieldwall.identity import permissions
from shieldwall.state import scope


@dataclass(frozen=True)
class Principal:
    """The caller of one request: an application of one tenant, by itself or for a person who signed in."""

    tenant_id: str
    application_id: str
    name: str
    """Of the application, or the person's user principal name."""
    roles: frozenset[str]
    """Application permissions; a person's calls have none."""
    user_id: str = ""
    """The person's object id; empty where an application calls by itself."""
    rights: Mapping[str, scope.Reach] = field(default_factory=dict)
    """The person's delegated permissions, with the devices on which each may be used."""

    @property
    def actor(self) -> str:
        """Whom records name: the person, or the application's id."""
        return self.name if self.user_id else self.application_id

    def may(self, *needed: str) -> bool:
        """Whether the caller holds one of these application permissions, or of their delegated twins."""
        if self.user_id:
            return self.may_delegated([permissions.delegated(permission) for permission in needed])
        return any(permission in self.roles for permission in needed)

    def may_delegated(self, needed: Sequence[str]) -> bool:
        return any(permission in self.rights for permission in needed)

    def reach(self, needed: Sequence[str]) -> scope.Reach:
        """The devices on which a person may use one of these delegated permissions; an application: all."""
        if not self.user_id:
            return None
        found = (name for name in needed if name in self.rights)
        return scope.together(self.rights[name] for name in found)
