"""Property bags: their keys, and bags made of others. What is no bag gives null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound, expect
from shieldwall.kql.functions.dynamics import if_arrays, is_bag, items, json_path, key_text, packed_columns
from shieldwall.kql.functions.registry import coded, text_constant
from shieldwall.kql.local import LocalFunction
from shieldwall.kql.syntax import Call, Name
from shieldwall.kql.values import Value, convert, made, to_dynamic, to_json

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder


def pairs(value: Value) -> str:
    """SQL of a bag's keys and their JSON texts; of none for what is no bag."""
    if value.path:
        return f"JSONExtractKeysAndValuesRaw({', '.join((value.json, *value.path))})"
    return f"JSONExtractKeysAndValuesRaw({value.json or value.sql})"


def bag_of(text: str) -> str:
    """SQL of a bag of SQL of keys and JSON texts."""
    return (
        f"concat('{{', arrayStringConcat(arrayMap(x -> concat({key_text('x.1')}, x.2), {text}), ','), '}}')"
    )


def if_bags(text: str, *values: Value, otherwise: str = "''") -> str:
    """SQL of a result where all values are bags, and of null where they are not."""
    tests = [is_bag(value) for value in values if str(value.constant)[:1] != "{"]
    return f"if({' AND '.join(tests)}, {text}, {otherwise})" if tests else text


@coded("bag_keys")
def bag_keys(binder: Binder, call: Call, _: list[Value]) -> Value:
    value = to_dynamic(*bound(binder, call, 1))
    place = ", ".join((value.json, *value.path)) if value.json else value.sql
    return made("dynamic", if_bags(f"toJSONString(JSONExtractKeys({place}))", value), value)


@coded("bag_has_key")
def bag_has_key(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether a bag has a key, or what a path beginning with ``$`` leads to."""
    bag, key = bound(binder, call, 2)
    bag, key = to_dynamic(bag), convert(key, "string", call.at)
    place = [key.sql]
    if isinstance(key.constant, str) and key.constant.startswith("$"):
        place = [
            sql.quote(step) if isinstance(step, str) else str(step) for step in json_path(key.constant, call)
        ]
    text = f"JSONHas({', '.join((bag.sql, *place))}) = 1"
    return made("bool", if_bags(text, bag, otherwise="NULL"), bag, key)


@coded("bag_merge")
def bag_merge(binder: Binder, call: Call, _: list[Value]) -> Value:
    """All properties of bags; of a key that several have, the first. What is no bag is left out."""
    values = [to_dynamic(value) for value in bound(binder, call, 2, 64)]
    distinct = "arrayFilter((x, i) -> indexOf(a.1, x.1) = i, a, arrayEnumerate(a))"
    text = f"arrayMap(a -> {bag_of(distinct)}, [arrayConcat({', '.join(map(pairs, values))})])[1]"
    return made("dynamic", f"if({' OR '.join(map(is_bag, values))}, {text}, '')", *values)


@coded("bag_remove_keys")
def bag_remove_keys(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag without some keys, or without what paths beginning with ``$`` lead to."""
    bag, keys = (to_dynamic(value) for value in bound(binder, call, 2))
    if isinstance(keys.constant, str) and '"$' in keys.constant:
        work = LocalFunction(call.name, "dynamic", without_keys)
        return binder.local.call(work, [bag, keys])
    names = f"JSONExtract({keys.sql}, 'Array(String)')"
    text = bag_of(f"arrayFilter(x -> NOT has({names}, x.1), {pairs(bag)})")
    return made("dynamic", if_bags(text, bag), bag, keys)


def without_keys(bag: Any, keys: Any) -> Any:
    """A bag without the keys and paths that are listed."""
    if not isinstance(bag, dict) or not isinstance(keys, list):
        return bag if isinstance(bag, dict) else None
    for key in keys:
        if not isinstance(key, str):
            continue
        steps = _steps(key)
        holder: Any = bag
        for step in steps[:-1]:
            holder = _member(holder, step)
        if steps and isinstance(holder, dict):
            holder.pop(steps[-1], None)
    return bag


def _steps(key: str) -> list[str | int]:
    """The steps of a path, or the key itself if it is none."""
    if not key.startswith("$"):
        return [key]
    try:
        return json_path(key, Call(0, "bag_remove_keys", []))
    except KqlError:
        return [key]


def _member(holder: Any, step: str | int) -> Any:
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int) and 0 < step <= len(holder):
        return holder[step - 1]
    return None


@coded("bag_set_key")
def bag_set_key(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag with a key, or what a path beginning with ``$`` leads to, set to a value."""
    bag, key, value = bound(binder, call, 3)
    bag, name = to_dynamic(bag), text_constant(key, call, "the key")
    if name.startswith("$"):
        json_path(name, call)
        work = LocalFunction(call.name, "dynamic", with_key)
        return binder.local.call(work, [bag, key, to_dynamic(value)])
    member = f"tuple({key.sql}, {to_json(value)})"
    replaced = f"arrayMap(x -> if(x.1 = {key.sql}, {member}, x), a)"
    text = f"if(has(a.1, {key.sql}), {replaced}, arrayPushBack(a, {member}))"
    text = f"arrayMap(a -> {bag_of(text)}, [{pairs(bag)}])[1]"
    return made("dynamic", if_bags(text, bag), bag, value)


def with_key(bag: Any, key: str, value: Any) -> Any:
    """A bag with what a path leads to set; bags on the way are made."""
    if not isinstance(bag, dict):
        return None
    steps = _steps(key)
    holder: Any = bag
    for step in steps[:-1]:
        inner = _member(holder, step)
        if inner is None and isinstance(holder, dict):
            inner = holder[str(step)] = {}
        holder = inner
    if isinstance(holder, dict):
        holder[str(steps[-1])] = value
    elif isinstance(holder, list) and isinstance(steps[-1], int) and 0 < steps[-1] <= len(holder):
        holder[steps[-1] - 1] = value
    return bag


@coded("bag_zip")
def bag_zip(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag of keys that are texts and their values, null where there is none."""
    keys, values = (to_dynamic(value) for value in bound(binder, call, 2))
    texts = "arrayMap(x -> tuple(JSONExtractString(ifNull(x.1, '')), ifNull(x.2, 'null')), b)"
    named = "arrayFilter(x -> startsWith(ifNull(x.1, ''), '\"'), a)"
    zipped = f"arrayZipUnaligned({items(keys)}, {items(values)})"
    text = f"arrayMap(a -> arrayMap(b -> {bag_of(texts)}, [{named}])[1], [{zipped}])[1]"
    return made("dynamic", if_arrays(text, [keys, values]), keys, values)


@coded("bag_pack_columns")
def bag_pack_columns(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag of columns by their names."""
    expect(call, 1, 10_000)
    values: list[Value] = []
    for arg in call.args:
        if not isinstance(arg, Name):
            raise KqlError("bag_pack_columns() takes names of columns.", arg.at, "SEM0240")
        values.append(binder.bind(arg))
        values[-1].name = values[-1].name or arg.name
    return packed_columns(values)
