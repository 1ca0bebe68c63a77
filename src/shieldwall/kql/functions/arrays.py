"""Arrays: length, members, order, parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.dynamics import array_of, if_arrays, items
from shieldwall.kql.functions.registry import coded
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made, to_dynamic, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder


@coded("array_length", "arraylength")
def array_length(binder: Binder, call: Call, _: list[Value]) -> Value:
    (value,) = bound(binder, call, 1)
    value = to_dynamic(value)
    if value.json:
        place = ", ".join((value.json, *value.path))
        return made("long", f"if(JSONType({place}) = 'Array', toInt64(JSONLength({place})), NULL)", value)
    return made("long", if_arrays(f"toInt64(JSONLength({value.sql}))", [value], "NULL"), value)


@coded("strcat_array")
def strcat_array(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The members as text with a delimiter between."""
    array, delimiter = bound(binder, call, 2)
    array = to_dynamic(array)
    texts = f"JSONExtract({', '.join((array.json, *array.path)) if array.json else array.sql}"
    text = f"arrayStringConcat({texts}, 'Array(String)'), {to_string(delimiter).sql})"
    return made("string", if_arrays(text, [array]), array, delimiter)


@coded("array_concat")
def array_concat(binder: Binder, call: Call, _: list[Value]) -> Value:
    """All members of arrays; what is no array counts as one member."""
    values = [to_dynamic(value) for value in bound(binder, call, 1, 10_000)]
    return made("dynamic", array_of(f"arrayConcat({', '.join(map(items, values))})"), *values)
