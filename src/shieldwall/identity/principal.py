"""Who is calling, once the token was checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """The caller of one request: an application of one tenant with its application permissions."""

    tenant_id: str
    application_id: str
    name: str
    roles: frozenset[str]

    def may(self, *permissions: str) -> bool:
        """Whether the caller holds at least one of ``permissions``."""
        return any(permission in self.roles for permission in permissions)
