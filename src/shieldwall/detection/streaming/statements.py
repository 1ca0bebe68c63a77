"""What statements about candidate rows have in common: their bounds, and the rules asked of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from shieldwall.detection.streaming.compiling import CompiledRule
from shieldwall.kql import sql
from shieldwall.kql.clickhouse import SETTINGS

CLASS = "$class"
"""Name of the column that has the number of a row's class."""
FOUND = "$found"
RULES_AT_ONCE = 64
"""Rules in one statement."""
_BOUNDS = {
    "max_execution_time": 60,
    # All patterns are plain texts, some of which look expensive.
    "reject_expensive_hyperscan_regexps": 0,
    # An event may have a megabyte, and conditions work on copies of blocks of them, one for each function.
    "max_block_size": 8192,
    "preferred_block_size_bytes": 100_000,
    "min_insert_block_size_rows": 8192,
    "min_insert_block_size_bytes": 4 << 20,
}

Class = tuple[str, tuple[int, ...]]
"""A tenant, and the numbers of the rules that may find rows of it."""


def with_settings(text: str) -> str:
    """A statement of ours as long as it may be."""
    settings = SETTINGS | _BOUNDS
    return f"{text} SETTINGS " + ", ".join(f"{name} = {value}" for name, value in settings.items())


def rules_of(classes: Mapping[Class, int]) -> dict[int, list[int]]:
    """The classes of the rows that each rule may find, by their numbers."""
    found: dict[int, list[int]] = {}
    for (_, rules), number in classes.items():
        for rule in rules:
            found.setdefault(rule, []).append(number)
    return dict(sorted(found.items()))


def hits(
    columns: str,
    rows: str,
    rules: Mapping[int, Sequence[int] | None],
    rule: Callable[[int], CompiledRule],
) -> str:
    """SQL of ``columns`` of those ``rows`` that rules find, and last the numbers of these, from 1.

    Of each rule it is given which classes its rows have; None where any row is asked.
    """
    flags = []
    wanted = [f"notEmpty({sql.name(FOUND)})"]
    for number, classes in rules.items():
        condition = rule(number).condition
        asked = condition if classes is None else f"{of(classes)} AND {condition}"
        flags.append(f"if({asked}, {number + 1}, 0)")
    if None not in rules.values():
        wanted.insert(0, of(sorted({number for classes in rules.values() for number in classes or ()})))
    return (
        f"SELECT {columns}, arrayFilter(f -> f > 0, [{', '.join(flags)}]) AS {sql.name(FOUND)} "
        f"FROM {rows} AS q WHERE {' AND '.join(wanted)}"
    )


def of(classes: Sequence[int]) -> str:
    """SQL that is true of rows of these classes."""
    return f"{sql.name(CLASS)} IN ({', '.join(map(str, classes))})"
