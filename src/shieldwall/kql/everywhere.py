"""``*`` as the left side of an operator: whether any column fulfils the condition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.operations import compare, equal, string_operation
from shieldwall.kql.relation import is_hidden
from shieldwall.kql.syntax import Binary
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, made, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_GUID_PART = re.compile(r"[0-9a-fA-F-]*")
_NEGATED = ("!", "not")


def any_column(binder: Binder, node: Binary) -> Value:
    """``* has "x"``, ``* == 5`` and the like; of a negated one, that no column does."""
    op, right = node.op, binder.bind(node.right)
    negated = op.startswith(_NEGATED)
    positive = {"!=": "==", "!~": "=~"}.get(op, op.removeprefix("!").removeprefix("not"))
    conditions: list[Value] = []
    for value in binder.row.columns():
        if is_hidden(value.name):
            continue
        found = _condition(positive, value, right, node.at)
        if found is not None:
            conditions.append(found)
    text = " OR ".join(value.sql for value in conditions) or "false"
    return made("bool", f"(NOT ({text}))" if negated else f"({text})", right, *conditions)


def _condition(op: str, value: Value, right: Value, at: int) -> Value | None:
    """The condition on one column; None where its type cannot fulfil it."""
    if op in ("==", "<", ">", "<=", ">="):
        if right.type != value.type and not (right.type in NUMERIC and value.type in NUMERIC):
            return None
        return equal(op, value, right, at) if op == "==" else compare(op, value, right, at)
    needle = right.constant
    if isinstance(needle, str) and op != "matches regex" and not _may_hold(value.type, needle):
        return None
    try:
        return string_operation(op, to_string(value) if value.type != "string" else value, right, at)
    except KeyError:
        raise KqlError(f"'*' cannot stand before '{op}'.", at) from None


def _may_hold(kind: str, needle: str) -> bool:
    """Whether the text of a value of a type can have the needle in it."""
    if kind in ("string", "dynamic") or not needle:
        return True
    if kind == "guid":
        return _GUID_PART.fullmatch(needle) is not None
    if kind == "bool":
        return needle.lower() in "true" or needle.lower() in "false"
    return any(letter.isdigit() for letter in needle)
