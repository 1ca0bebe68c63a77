"""Scalar functions and aggregates, declared in tables by subject."""

from shieldwall.kql.functions import aggregates  # noqa: F401
