"""Tabular operators: each a function of the compiler, its input, its syntax and the names it may use."""

from __future__ import annotations

from shieldwall.kql import plugins  # noqa: F401
from shieldwall.kql.operators import (  # noqa: F401
    aggregation,
    columns,
    expansion,
    external,
    graph_patterns,
    graphs,
    joins,
    key_values,
    parsing,
    partitions,
    reducing,
    rows,
    scanning,
    searching,
    series_making,
    sources,
    tops,
    unions,
)
from shieldwall.kql.operators.registry import OPERATORS, SOURCES

__all__ = ["OPERATORS", "SOURCES"]
