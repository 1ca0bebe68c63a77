"""Scalar functions and aggregates, declared in tables by subject."""

from shieldwall.kql.functions import (  # noqa: F401
    aggregates,
    bins,
    conversion,
    dates,
    general,
)
