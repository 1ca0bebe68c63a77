"""Aggregates that choose a row: arg_max, arg_min, take_any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import CODED_AGGREGATES, coded
from shieldwall.kql.scope import matches
from shieldwall.kql.syntax import Call, Expr, Named, Star
from shieldwall.kql.values import Value, convert, made

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
    rank = _rank(key, low=low)
    function = "argMax" if low else "argMin"

    def chosen(value: Value, name: str) -> Value:
        if value.type in ("string", "dynamic"):
            text = f"{function}({value.sql}, {rank})"
        else:
            # A tuple, because a null would be passed over. Of no rows at all, its member is null.
            text = f"{function}(tuple(toNullable({value.sql})), {rank}).1"
        found = made(value.type, text, value, key)
        found.name = name
        return found

    name = first.names[0] if isinstance(first, Named) else key.name or f"{call.name[-3:]}_"
    parts = [chosen(key, name)]
    # The older names put the name of the first before those of the others.
    before = f"{name}_" if "_" not in call.name else ""
    for place, part in returned(binder, call.args, {key.name} if key.refers else set()):
        unnamed = f"arg{place}" if before else f"{call.name[-3:]}_{name}_arg{place}"
        parts.append(chosen(part, before + (part.name or unnamed)))
    return several(parts)


def several(parts: list[Value]) -> Value:
    """A value that stands for several columns."""
    first = parts[0]
    return Value(first.type, first.sql, first.deps, name=first.name, parts=tuple(parts))


def returned(binder: Binder, nodes: list[Expr], apart: set[str]) -> list[tuple[int, Value]]:
    """What the arguments behind the first name, with the places of these.

    ``*`` stands for all columns but those that are grouped by, are ``apart`` or are named before.
    """
    starred = any(isinstance(node, Star) for node in nodes)
    taken = apart | {value.name for value in binder.grouped_by if value.refers} if starred else set()
    found: list[tuple[int, Value]] = []
    for place, node in enumerate(nodes[1:], 1):
        if isinstance(node, Star):
            named = [value for value in binder.row.columns() if matches(node.pattern, value.name)]
        else:
            named = [binder.bind(node.value if isinstance(node, Named) else node)]
        for value in named:
            if value.refers and value.name in taken:
                continue
            if value.refers and starred:
                taken.add(value.name)
            found.append((place, replace(value, name=node.names[0]) if isinstance(node, Named) else value))
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


@coded("take_any", "any", into=CODED_AGGREGATES)
def take_any(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Values of any one row; a single one is of a row where it is not null, if there is one."""
    if not call.args:
        raise KqlError(f"{call.name}() takes at least one expression.", call.at, "SEM0219")
    # With something before them, they count as the arguments behind the first do.
    values = returned(binder, [call.args[0], *call.args], set())
    if len(call.args) == 1 and not isinstance(call.args[0], Star):
        value = values[0][1]
        text = f"anyIf({value.sql}, {value.sql} != '')" if value.type == "dynamic" else f"any({value.sql})"
        found = made(value.type, text, value)
        found.name = f"any_{value.name}" if call.name == "any" else value.name or "any_arg0"
        return found
    parts: list[Value] = []
    for place, value in values:
        text = f"any({value.sql})"
        if value.type not in ("string", "dynamic"):
            text = f"any(tuple(toNullable({value.sql}))).1"
        part = made(value.type, text, value)
        unnamed = f"arg{place - 1}" if call.name == "any" else f"any_arg{place - 1}"
        part.name = value.name or unnamed
        parts.append(part)
    return several(parts) if parts else made("string", "''")


@coded("take_anyif", "anyif", into=CODED_AGGREGATES)
def take_anyif(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A value of any row that fulfils a condition."""
    value, condition = bound(binder, call, 2)
    condition = convert(condition, "bool", call.at)
    text = value.sql if value.type in ("string", "dynamic") else f"toNullable({value.sql})"
    found = made(value.type, f"anyIf({text}, {condition.sql})", value, condition)
    found.name = f"anyif_{value.name}" if call.name == "anyif" else value.name
    return found
