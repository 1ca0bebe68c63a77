"""Rules as the one pass takes them."""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.detection.rules.rule import Rule


@dataclass(frozen=True)
class Everywhere:
    """A rule in force in one tenant, or in all."""

    rule: Rule
    tenant: str | None = None

    def covers(self, tenant_id: str) -> bool:
        return self.tenant in (None, tenant_id)


def watched(*queries: str, tenant: str | None = None) -> list[Everywhere]:
    """A rule for each query, whose id is the query."""
    return [Everywhere(Rule(query, query, query, query), tenant) for query in queries]
