"""How functions that bind their own arguments get at them, and the type that values have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC, wider
from shieldwall.kql.values import Value, convert

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder


def bound(binder: Binder, call: Call, least: int, most: int | None = None) -> list[Value]:
    """The values of a call's arguments. KqlError if there are fewer than ``least`` or more than ``most``."""
    expect(call, least, most)
    return [binder.bind(arg) for arg in call.args]


def expect(call: Call, least: int, most: int | None = None) -> None:
    """KqlError unless the number of arguments is right. ``most`` is ``least`` if it is not given."""
    count = len(call.args)
    if not least <= count <= (least if most is None else most):
        raise KqlError(
            f"{call.name}() does not take {count} argument{'s' * (count != 1)}.", call.at, "SEM0219"
        )


def common_type(values: Sequence[Value], *, dynamic: bool = False) -> str:
    """The type that all values can be shown as, as ``iff`` and ``case`` choose it.

    Dynamics give way to other types, unless ``dynamic``. Values that have nothing in common become dynamic.
    """
    kinds = {value.type for value in values}
    if not dynamic and len(kinds) > 1:
        kinds.discard("dynamic")
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= {*NUMERIC}:
        first, *others = kinds
        for kind in others:
            first = wider(first, kind)
        return first
    return "dynamic"


def as_common(values: Sequence[Value], at: int) -> tuple[str, list[Value]]:
    """The common type of values, and all of them converted to it."""
    kind = common_type(values)
    return kind, [value if value.type == kind else convert(value, kind, at) for value in values]
