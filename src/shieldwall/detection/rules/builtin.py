"""Rules that come with the product: they apply in every tenant, without a row of any."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from shieldwall.detection.rules.rule import Rule


@cache
def builtin_rules() -> Mapping[str, Rule]:
    """By id."""
    return {}
