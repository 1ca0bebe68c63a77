"""Scalar functions and aggregates, declared in tables by subject."""

from shieldwall.kql.functions import (  # noqa: F401
    aggregates,
    arrays,
    bags,
    bins,
    choosing,
    collecting,
    conversion,
    dates,
    dynamics,
    general,
    sets,
)
