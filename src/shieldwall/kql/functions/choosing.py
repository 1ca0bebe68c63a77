"""Aggregates that choose a row: arg_max, arg_min, take_any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.registry import CODED_AGGREGATES, coded
from shieldwall.kql.scope import matches
from shieldwall.kql.syntax import Call, Expr, Named, Star
from shieldwall.kql.values import Value, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

LEAST, MOST = -(1 << 63), (1 << 63) - 1


@coded("arg_max", "arg_min", "argmax", "argmin", into=CODED_AGGREGATES)
def arg_extreme(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The extreme of the first expression, and the others of a row that has it.

    Rows where it is null are chosen only if it is null in all.
    """
    if not call.args:
        raise KqlError(f"{call.name}() takes what to maximize, and what to return.", call.at, "SEM0219")
    low = call.name in ("arg_max", "argmax")
    first = call.args[0]
    key = binder.bind(first.value if isinstance(first, Named) else first)
    name = (first.names[0] if isinstance(first, Named) else "") or key.name or f"{call.name[-3:]}_"
    rank = _rank(key, low=low)
    function = "argMax" if low else "argMin"

    def chosen(value: Value) -> Value:
        if value.type in ("string", "dynamic"):
            return made(value.type, f"{function}({value.sql}, {rank})", value, key)
        # A tuple, because a null would be passed over. Of no rows at all, its members are null.
        text = f"{function}(tuple(toNullable({value.sql})), {rank}).1"
        return made(value.type, text, value, key)

    parts = [chosen(key)]
    parts[0].name = name
    for part in returned(binder, call.args[1:], key.name):
        found = chosen(part)
        found.name = part.name
        parts.append(found)
    return Value(parts[0].type, parts[0].sql, parts[0].deps, name=name, parts=tuple(parts))


def returned(binder: Binder, nodes: list[Expr], chosen: str = "") -> list[Value]:
    """What arguments name; ``*`` stands for all columns but those that are grouped by and the one chosen by."""
    apart = {value.name for value in binder.grouped_by if value.is_column} | {chosen}
    found: list[Value] = []
    for node in nodes:
        if isinstance(node, Star):
            found += [
                value
                for value in binder.row.columns()
                if value.name not in apart and matches(node.pattern, value.name)
            ]
            continue
        value = binder.bind(node.value if isinstance(node, Named) else node)
        if isinstance(node, Named):
            value.name = node.names[0]
        found.append(value)
    return found


def _rank(key: Value, *, low: bool) -> str:
    """SQL that orders as the key does, never NULL; null is the least, or else the most."""
    text = key.sql
    if key.type in ("string", "dynamic"):
        return text
    if key.type == "guid":
        return f"ifNull(toString({text}), '{'' if low else '~'}')"
    if key.type == "datetime":
        text = f"reinterpretAsInt64({text})"
    elif key.type in ("real", "decimal"):
        return f"ifNull(toFloat64({text}), {'-inf' if low else 'inf'})"
    else:
        text = f"toInt64({text})"
    return f"ifNull({text}, {f'toInt64({LEAST})' if low else f'toInt64({MOST})'})"


@coded("take_any", "any", "anyif", "take_anyif", into=CODED_AGGREGATES)
def take_any(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Values of any one row; of one expression, a value that is not null if there is one."""
    nodes = list(call.args)
    condition = ""
    conditions: list[Value] = []
    if call.name.endswith("if"):
        if len(nodes) != 2:
            raise KqlError(f"{call.name}() takes an expression and a condition.", call.at, "SEM0219")
        test = binder.boolean(nodes.pop())
        conditions, condition = [test], f", ifNull({test.sql}, false)"
    if not nodes:
        raise KqlError(f"{call.name}() takes at least one expression.", call.at, "SEM0219")
    values = returned(binder, nodes)
    function = "anyIf" if condition else "any"
    star = len(values) > 1 or isinstance(nodes[0], Star)
    parts: list[Value] = []
    for value in values:
        text = f"{function}({value.sql}{condition})"
        if star and value.type not in ("string", "dynamic"):
            text = f"{function}(tuple(toNullable({value.sql})){condition}).1"
        part = made(value.type, text, value, *conditions)
        part.name = value.name if star else f"any_{value.name}"
        parts.append(part)
    if not star:
        return parts[0]
    first = parts[0]
    return Value(first.type, first.sql, first.deps, name=first.name, parts=tuple(parts))
