"""Arrays: length, members, order, parts. What is no array gives null."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.dynamics import array_of, element, if_arrays, is_array, items
from shieldwall.kql.functions.registry import coded, number_constant
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, constant, convert, made, to_dynamic, to_json, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder


def whole(value: Value, call: Call) -> str:
    """SQL of a whole number, 0 for null."""
    if value.type not in (*NUMERIC, "dynamic", "bool"):
        raise KqlError(f"{call.name}() takes a whole number here, not a {value.type}.", call.at, "SEM0231")
    number = convert(value, "long")
    return number.sql if isinstance(number.constant, int) else f"ifNull(toInt64({number.sql}), 0)"


def with_array(of: Value, body: str) -> str:
    """SQL of a result that is computed from an array's JSON texts, which are ``a`` in ``body``."""
    return f"arrayMap(a -> {body}, [{items(of)}])[1]"


@coded("array_length", "arraylength")
def array_length(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_dynamic(*bound(binder, call, 1))
    if isinstance(value.constant, str):
        members = held_members(value.constant)
        return constant("long", None if members is None else len(members))
    place = ", ".join((value.json, *value.path)) if value.json else value.sql
    return made("long", if_arrays(f"toInt64(JSONLength({place}))", [value], "NULL"), value)


def held_members(text: str) -> list[object] | None:
    import json

    found = json.loads(text) if text else None
    return found if isinstance(found, list) else None


@coded("array_concat")
def array_concat(binder: Binder, call: Call, _: list[Value]) -> Value:
    """All members; what is no array gives none, and null if nothing is one."""
    values = [to_dynamic(value) for value in bound(binder, call, 1, 64)]
    text = array_of(f"arrayConcat({', '.join(map(items, values))})")
    if not any(str(value.constant)[:1] == "[" for value in values):
        text = f"if({' OR '.join(map(is_array, values))}, {text}, '')"
    return made("dynamic", text, *values)


@coded("strcat_array")
def strcat_array(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The members as text with a delimiter between."""
    array, delimiter = bound(binder, call, 2)
    array = to_dynamic(array)
    place = ", ".join((array.json, *array.path)) if array.json else array.sql
    texts, between = f"JSONExtract({place}, 'Array(String)')", to_string(delimiter).sql
    joined = f"arrayStringConcat({texts}, {between})"
    if not delimiter.is_constant:
        # ClickHouse joins by a constant only.
        joined = f"arrayStringConcat(arrayMap(x -> concat({between}, x), {texts}))"
        joined = f"substring({joined}, length({between}) + 1)"
    return made("string", if_arrays(joined, [array]), array, delimiter)


@coded("array_reverse")
def array_reverse(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_dynamic(*bound(binder, call, 1))
    return made("dynamic", if_arrays(array_of(f"arrayReverse({items(value)})"), [value]), value)


@coded("array_sum")
def array_sum(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The sum of numbers; null if a member is none."""
    value = to_dynamic(*bound(binder, call, 1))
    numbers = f"arrayMap(x -> toFloat64OrNull(x), {items(value)})"
    total = f"arrayMap(a -> if(has(a, NULL), NULL, arraySum(x -> assumeNotNull(x), a)), [{numbers}])[1]"
    return made("real", if_arrays(total, [value], "NULL"), value)


@coded("array_iff", "array_iif")
def array_iff(binder: Binder, call: Call, _: list[Value]) -> Value:
    """For each condition a value, or a member of an array, of those that stand for true or false."""
    conditions, yes, no = bound(binder, call, 3)
    conditions = to_dynamic(conditions)
    yes_text, no_text = _each(yes), _each(no)
    chosen = (
        f"multiIf(x = 'true', {yes_text}, x = 'false', {no_text}, isNull(toFloat64OrNull(x)), 'null', "
        f"toFloat64OrNull(x) != 0, {yes_text}, {no_text})"
    )
    text = array_of(f"arrayMap((x, i) -> {chosen}, a, arrayEnumerate(a))")
    result = if_arrays(with_array(conditions, text), [conditions])
    return made("dynamic", result, conditions, yes, no)


def _each(value: Value) -> str:
    """SQL of the JSON text of member ``i`` of an array, or of what is no array."""
    if value.type != "dynamic":
        return to_json(value)
    member = f"ifNull(nullIf({items(value)}[i], ''), 'null')"
    return f"if({is_array(value)}, {member}, {to_json(value)})"


@coded("array_index_of")
def array_index_of(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The first position from 0 of a value in a part of an array; -1 if it is not there."""
    array, value, *numbers = bound(binder, call, 2, 5)
    array = to_dynamic(array)
    start = whole(numbers[0], call) if numbers else "0"
    length = whole(numbers[1], call) if len(numbers) > 1 else "-1"
    occurrence = number_constant(numbers[2], call, "the occurrence") if len(numbers) > 2 else 1
    if not numbers:
        text = f"toInt64(indexOf({items(array)}, {element(value)})) - 1"
    else:
        first = f"if({start} < 0, greatest(length(a) + {start}, 0), {start})"
        inside = f"i > {first} AND ({length} = -1 OR i <= {first} + {length})"
        places = f"arrayFilter((i, x) -> x = {element(value)} AND {inside}, arrayEnumerate(a), a)"
        text = f"toInt64({places}[{max(occurrence, 1)}]) - 1"
        text = with_array(array, f"if({length} < -1 OR {occurrence} < 1, NULL, {text})")
    return made("long", if_arrays(text, [array], "NULL"), array, value, *numbers)


@coded("array_slice")
def array_slice(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The members from one position to another, both included; negative ones count from the end."""
    array, start, end = bound(binder, call, 3)
    array = to_dynamic(array)
    first, last = (_from_end(whole(value, call)) for value in (start, end))
    text = array_of(f"arrayFilter((x, i) -> i > {first} AND i <= {last} + 1, a, arrayEnumerate(a))")
    return made("dynamic", if_arrays(with_array(array, text), [array]), array, start, end)


def _from_end(text: str) -> str:
    """SQL of a position that counts from the end of ``a`` if it is negative."""
    return f"if({text} < 0, length(a) + {text}, {text})"


@coded("array_split")
def array_split(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The parts between positions."""
    array, places = bound(binder, call, 2)
    array = to_dynamic(array)
    if places.type == "dynamic":
        given = f"JSONExtract({places.sql}, 'Array(Int64)')"
        given = f"if({is_array(places)}, {given}, [JSONExtractInt({places.sql})])"
    else:
        given = f"[{whole(places, call)}]"
    cuts = f"arrayMap(c -> greatest(least({_from_end('c')}, toInt64(length(a))), 0), {given})"
    part = array_of("arraySlice(a, s + 1, greatest(e - s, 0))")
    edges = "arrayPushFront(cuts, toInt64(0)), arrayPushBack(cuts, toInt64(length(a)))"
    between = f"arrayMap((s, e) -> {part}, {edges})"
    text = with_array(array, f"arrayMap(cuts -> {array_of(between)}, [{cuts}])[1]")
    return made("dynamic", if_arrays(text, [array]), array, places)


@coded("array_shift_left", "array_shift_right")
def array_shift(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The members moved; what comes in is a default."""
    array, count, *filling = bound(binder, call, 2, 3)
    array = to_dynamic(array)
    function = "arrayShiftLeft" if call.name.endswith("left") else "arrayShiftRight"
    default = to_json(filling[0]) if filling else "'null'"
    text = f"{function}({items(array)}, {whole(count, call)}, {default})"
    return made("dynamic", if_arrays(array_of(text), [array]), array, count, *filling)


@coded("array_rotate_left", "array_rotate_right")
def array_rotate(binder: Binder, call: Call, _: list[Value]) -> Value:
    array, count = bound(binder, call, 2)
    array = to_dynamic(array)
    function = "arrayRotateLeft" if call.name.endswith("left") else "arrayRotateRight"
    text = array_of(f"{function}({items(array)}, {whole(count, call)})")
    return made("dynamic", if_arrays(text, [array]), array, count)


@coded("array_sort_asc", "array_sort_desc")
def array_sort(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Arrays in the order of the first: numbers before texts, nulls last unless false is given.

    An array of another length than the first gives null. Of several arrays there are as many results.
    """
    values = bound(binder, call, 1, 65)
    nulls_last = True
    if values[-1].type == "bool":
        nulls_last = bool(values.pop().constant)
    if not values:
        raise KqlError(f"{call.name}() takes at least one array.", call.at, "SEM0219")
    values = [to_dynamic(value) for value in values]
    descending = call.name.endswith("desc")
    order = with_array(values[0], _sorted_places(descending=descending, nulls_last=nulls_last))
    parts: list[Value] = []
    for place, value in enumerate(values):
        text = array_of(f"arrayMap(i -> b[i], {order})")
        text = f"arrayMap(b -> {text}, [{items(value)}])[1]"
        if place:
            same = f"length({items(value)}) = length({items(values[0])})"
            text = f"if({same}, {text}, '')"
        part = made("dynamic", if_arrays(text, [values[0], value]), values[0], value)
        part.name = f"{value.name or f'array{place}'}_sorted"
        parts.append(part)
    found = made("dynamic", parts[0].sql, *parts)
    if len(parts) > 1:
        separated = ", ',', ".join(to_json(part) for part in parts)
        found = made("dynamic", f"concat('[', {separated}, ']')", *parts)
    found.parts = tuple(parts)
    return found


def _sorted_places(*, descending: bool, nulls_last: bool) -> str:
    """SQL of the positions of ``a`` in the order of its members."""
    null_rank = 9 if nulls_last != descending else -1
    rank = f"multiIf(x = 'null', {null_rank}, isNotNull(toFloat64OrNull(x)), 0, startsWith(x, '\"'), 1, 2)"
    key = f"tuple({rank}, toFloat64OrZero(x), if(startsWith(x, '\"'), JSONExtractString(x), x))"
    sort = "arrayReverseSort" if descending else "arraySort"
    return f"{sort}((i, x) -> {key}, arrayEnumerate(a), a)"


@coded("zip")
def zip_(binder: Binder, call: Call, _: list[Value]) -> Value:
    """An array of the first members, one of the second ones and so on; null where an array has no more."""
    values = [to_dynamic(value) for value in bound(binder, call, 2, 64)]
    members = ", ',', ".join(f"ifNull(x.{place + 1}, 'null')" for place in range(len(values)))
    zipped = f"arrayZipUnaligned({', '.join(map(items, values))})"
    text = array_of(f"arrayMap(x -> concat('[', {members}, ']'), {zipped})")
    return made("dynamic", if_arrays(text, values), *values)
