"""Percentiles by nearest rank: percentile, percentiles and their weighted and array forms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.dynamics import array_of
from shieldwall.kql.functions.registry import CODED_AGGREGATES, coded
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, convert, from_ticks, made, to_dynamic, to_json

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_BELOW = 1e-9
"""So much less of the level makes ClickHouse's rank, which begins above, the nearest rank."""


@coded(
    "percentile",
    "percentiles",
    "percentiles_array",
    "percentilew",
    "percentilesw",
    "percentilesw_array",
    into=CODED_AGGREGATES,
)
def percentile(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The values below which lie so many percent of all; several are several columns or an array."""
    array, weighted = call.name.endswith("_array"), call.name.removesuffix("_array").endswith("w")
    several = call.name.startswith("percentiles")
    least = 2 + weighted
    value, *others = bound(binder, call, least, 10_000 if several else least)
    weights = [convert(others.pop(0), "long", call.at)] if weighted else []
    if array and len(others) == 1 and others[0].type == "dynamic" and isinstance(others[0].constant, str):
        given = json.loads(others[0].constant) if others[0].constant else None
        given = given if isinstance(given, list) else [given]
    else:
        given = [item.constant for item in others]
    wanted = [percent for percent in given if isinstance(percent, int | float) and 0 <= percent <= 100]
    if len(wanted) < len(given):
        raise KqlError(f"{call.name}(): a percentage is a constant from 0 to 100.", call.at, "SEM0240")
    kind, parts = _computed(call, value, weights, wanted)
    if array:
        found = made("dynamic", array_of(f"[{', '.join(to_json(part) for part in parts)}]"), value, *weights)
        found.name = f"percentiles_{value.name}"
        return found
    for part, percent in zip(parts, wanted, strict=True):
        text = f"{percent:.15g}" if isinstance(percent, float) else str(percent)
        part.name = f"percentile_{value.name}_{text.replace('.', '_')}"
    first = parts[0]
    return Value(kind, first.sql, first.deps, name=first.name, parts=tuple(parts))


def _computed(call: Call, value: Value, weights: list[Value], wanted: list[float]) -> tuple[str, list[Value]]:
    """The type of percentiles and their values; null of no values."""
    kind = {"int": "long", "decimal": "real", "bool": "long"}.get(value.type, value.type)
    if kind == "datetime":
        number = f"reinterpretAsInt64({value.sql})"
    elif kind in (*NUMERIC, "timespan", "dynamic"):
        number = convert(value, "real" if kind == "dynamic" else kind, call.at).sql
    else:
        raise KqlError(f"{call.name}() does not take a {value.type}.", call.at, "SEM0231")
    if weights:
        weight = f"toUInt64(greatest(ifNull({weights[0].sql}, 0), 0))"
        levels = ", ".join(repr(percent / 100) for percent in wanted)
        ranks = f"quantilesExactWeighted({levels})({number}, {weight})"
    else:
        levels = ", ".join(repr(max(percent / 100 - _BELOW, 0)) for percent in wanted)
        ranks = f"quantilesExact({levels})({number})"
    parts: list[Value] = []
    for place in range(len(wanted)):
        text = f"if(count({number}) = 0, NULL, {ranks}[{place + 1}])"
        if kind == "datetime":
            text = from_ticks(text)
        part = made("real" if kind == "dynamic" else kind, text, value, *weights)
        parts.append(to_dynamic(part) if kind == "dynamic" else part)
    return kind, parts
