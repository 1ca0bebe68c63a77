"""Arrays as sets: union, difference, intersection, membership."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.dynamics import array_of, element, if_arrays, items
from shieldwall.kql.functions.registry import coded
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made, to_dynamic

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder


@coded("set_union", "set_difference", "set_intersect")
def combined(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The distinct members of arrays, in the order of the first; null unless all are arrays."""
    values = [to_dynamic(value) for value in bound(binder, call, 2, 64)]
    first, *others = (items(value) for value in values)
    if call.name == "set_union":
        text = f"arrayDistinct(arrayConcat({', '.join((first, *others))}))"
    elif call.name == "set_difference":
        gone = f"arrayConcat({', '.join(others)})" if len(others) > 1 else others[0]
        text = f"arrayDistinct(arrayExcept({first}, {gone}))"
    else:
        text = f"arrayIntersect({', '.join((first, *others))})"
    return made("dynamic", if_arrays(array_of(text), values), *values)


@coded("set_has_element")
def set_has_element(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether an array has a member; null if it is no array."""
    array, member = bound(binder, call, 2)
    array = to_dynamic(array)
    return made("bool", if_arrays(f"has({items(array)}, {element(member)})", [array], "NULL"), array, member)


@coded("jaccard_index")
def jaccard_index(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The size of the intersection over that of the union; NaN of two empty sets."""
    values = [to_dynamic(value) for value in bound(binder, call, 2)]
    first, second = (items(value) for value in values)
    both = f"length(arrayIntersect({first}, {second}))"
    either = f"length(arrayDistinct(arrayConcat({first}, {second})))"
    return made("real", if_arrays(f"{both} / {either}", values, "NULL"), *values)


@coded("set_equals")
def set_equals(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether two arrays have the same members, in any order and number."""
    values = [to_dynamic(value) for value in bound(binder, call, 2)]
    first, second = (items(value) for value in values)
    text = f"hasAll({first}, {second}) AND hasAll({second}, {first})"
    return made("bool", if_arrays(text, values, "NULL"), *values)
