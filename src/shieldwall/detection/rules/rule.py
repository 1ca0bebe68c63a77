"""A detection rule as every part hands it to the next, and a row that it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["Informational", "Low", "Medium", "High"]
Source = Literal["Custom", "Sigma", "BuiltIn"]

CONTINUOUS = 0
"""The period of a rule that looks at each group of events as it is stored."""


@dataclass(frozen=True)
class Rule:
    """What to look for, in KQL, and the alert to raise for it.

    ``period`` and ``lookback`` are in minutes. ``title`` and ``description`` may name result columns as
    ``{{Column}}``. ``entities`` names result columns by the kind of entity, ``details`` by the name under
    which the alert shows them.
    """

    id: str
    """Unique in a tenant, and the same each time the same rule is loaded."""
    name: str
    query: str
    title: str
    severity: Severity = "Medium"
    category: str = "SuspiciousActivity"
    techniques: tuple[str, ...] = ()
    description: str = ""
    recommended_action: str = ""
    period: int = CONTINUOUS
    lookback: int | None = None
    entities: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    source: Source = "Custom"
    origin: str = ""
    """The text that the rule was made from when that is not its query, such as a Sigma rule."""


@dataclass(frozen=True)
class RuleHit:
    """One row that a rule found, with every column of its result."""

    rule_id: str
    tenant_id: str
    table: str
    """The hunting table that the row is of; empty when the query made the row of several."""
    row: Mapping[str, Any]
