"""Dynamic values: reading JSON, packing values into arrays and bags, reading members by path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import dynamic_text
from shieldwall.kql.functions.arguments import bound, expect
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, coded, text_constant
from shieldwall.kql.literals import json_value
from shieldwall.kql.local import LocalFunction
from shieldwall.kql.syntax import Call, Literal, Star
from shieldwall.kql.values import Value, constant, convert, made, member, to_dynamic, to_json, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

ARRAY, BAG = "[", "{"
"""What the JSON text of a dynamic begins with."""


def items(value: Value) -> str:
    """SQL of the JSON texts of an array's members; of none for what is no array."""
    if value.path:
        return f"JSONExtractArrayRaw({', '.join((value.json, *value.path))})"
    return f"JSONExtractArrayRaw({value.json or value.sql})"


def array_of(texts: str) -> str:
    """SQL of an array of members whose JSON texts SQL gives."""
    return f"concat('[', arrayStringConcat({texts}, ','), ']')"


def if_arrays(text: str, values: Iterable[Value], otherwise: str = "''") -> str:
    """SQL of a result where all values are arrays, and of null where they are not."""
    tests = [is_array(value) for value in values if str(value.constant)[:1] != ARRAY]
    return f"if({' AND '.join(tests)}, {text}, {otherwise})" if tests else text


def is_array(value: Value) -> str:
    """SQL of whether a dynamic is an array."""
    if value.json:
        return f"JSONType({', '.join((value.json, *value.path))}) = 'Array'"
    return f"startsWith({value.sql}, '[')"


def is_bag(value: Value) -> str:
    """SQL of whether a dynamic is a bag."""
    if value.json:
        return f"JSONType({', '.join((value.json, *value.path))}) = 'Object'"
    return f"startsWith({value.sql}, '{{')"


def element(value: Value) -> str:
    """SQL of the JSON text of a value as it is among an array's members."""
    if value.type == "real":
        return f"ifNull(toJSONString({value.sql}), 'null')"
    return to_json(value)


def held(value: Value) -> Any:
    """What the JSON of a constant stands for."""
    if value.constant is None:
        return None
    if value.type == "dynamic":
        return json.loads(value.constant) if value.constant else None
    if value.type == "decimal":
        return float(value.constant)
    return json_value(Literal(0, value.type, value.constant))


NAMED_AFTER_ARGUMENT.update(("parse_json", "parsejson", "todynamic", "toobject"))


@coded("parse_json", "parsejson", "todynamic", "toobject")
def parse_json(binder: Binder, call: Call, _: list[Value]) -> Value:
    """What JSON text stands for; text that is no JSON stays text."""
    expect(call, 1)
    value = binder.bind(call.args[0])
    if value.type != "string":
        found = to_dynamic(value)
        return Value(found.type, found.sql, found.deps, found.constant, json=found.json, path=found.path)
    if isinstance(value.constant, str):
        return constant("dynamic", parsed_text(value.constant))
    text = value.sql
    # Text that is no JSON has no raw form. The text null becomes the null of a dynamic.
    parsed = f"coalesce(nullIf(JSONExtractRaw({text}), ''), nullIf(toJSONString({text}), '\"\"'), '')"
    return made("dynamic", f"ifNull(nullIf({parsed}, 'null'), '')", value, json=text)


def parsed_text(text: str) -> str:
    """The held text of a dynamic that JSON text is parsed to."""
    if not text.strip():
        return ""
    try:
        return dynamic_text(json.loads(text))
    except (ValueError, RecursionError):
        return dynamic_text(text)


def pack(keys: list[Value], values: list[Value]) -> Value:
    """A bag; of keys that are the same the last one counts."""
    if all(value.is_constant for value in (*keys, *values)):
        bag = {key.constant: held(value) for key, value in zip(keys, values, strict=True)}
        return constant("dynamic", dynamic_text(bag))
    last = {key.sql: place for place, key in enumerate(keys)}
    parts = ", ',', ".join(f"{key_text(key)}, {to_json(values[place])}" for key, place in last.items())
    return made("dynamic", f"concat('{{', {parts}, '}}')", *keys, *values)


def key_text(key: str) -> str:
    """SQL of ``"key":`` of SQL of a key."""
    return f"concat(toJSONString({key}), ':')"


@coded("pack", "bag_pack", "pack_dictionary")
def bag_pack(binder: Binder, call: Call, _: list[Value]) -> Value:
    values = bound(binder, call, 0, 10_000)
    if len(values) % 2:
        raise KqlError(f"{call.name}() takes pairs of a key and a value.", call.at, "SEM0219")
    return pack([convert(value, "string") for value in values[::2]], values[1::2])


@coded("pack_array")
def pack_array(binder: Binder, call: Call, _: list[Value]) -> Value:
    values: list[Value] = []
    for arg in call.args:
        values += visible(binder) if isinstance(arg, Star) else [binder.bind(arg)]
    if all(value.is_constant for value in values):
        return constant("dynamic", dynamic_text([held(value) for value in values]))
    parts = ", ',', ".join(to_json(value) for value in values)
    return made("dynamic", f"concat('[', {parts}, ']')", *values)


def visible(binder: Binder) -> list[Value]:
    return [column for column in binder.row.columns() if not column.name.startswith("$")]


@coded("pack_all")
def pack_all(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag of all columns; with true, of those that are neither null nor empty."""
    expect(call, 0, 1)
    ignored = bool(call.args and binder.constant(call.args[0]))
    return packed_columns(visible(binder), ignored=ignored)


def packed_columns(columns: list[Value], *, ignored: bool = False) -> Value:
    """A bag of these columns by name; if ``ignored``, without null and empty ones."""
    if not columns:
        return constant("dynamic", "{}")
    if not ignored:
        return pack([constant("string", column.name) for column in columns], columns)
    parts = [
        f"if({text} IN ('null', '\"\"'), '', concat({key_text(sql.quote(column.name))}, {text}))"
        for column in columns
        if (text := to_json(column))
    ]
    joined = f"arrayStringConcat(arrayFilter(x -> x != '', [{', '.join(parts)}]), ',')"
    return made("dynamic", f"concat('{{', {joined}, '}}')", *columns)


@coded("extractjson", "extract_json")
def extract_json(binder: Binder, call: Call, _: list[Value]) -> Value:
    """What a JSON path leads to in JSON text, as text or as the type asked for."""
    expect(call, 2, 3)
    path = binder.bind(call.args[0])
    text = text_constant(path, call, "the path")
    value = binder.bind(call.args[1])
    found = value
    if value.type != "dynamic":
        value = to_string(value)
        found = Value("dynamic", value.sql, value.deps, json=value.sql)
    for step in json_path(text, call):
        found = member(found, sql.quote(step) if isinstance(step, str) else str(step))
    kind = binder.type_of(call.args[2]) if len(call.args) > 2 else "string"
    return convert(found, kind, call.at)


_STEP = re.compile(r"""\.?([A-Za-z_$][\w$-]*)|\[\s*(-?\d+)\s*\]|\[\s*'([^']*)'\s*\]|\[\s*"([^"]*)"\s*\]""")


def json_path(text: str, call: Call) -> list[str | int]:
    """The steps of ``$.a.b[0]['c']``: keys, and positions from 1."""
    rest = text.strip().removeprefix("$")
    steps: list[str | int] = []
    while rest:
        found = _STEP.match(rest)
        if found is None:
            raise KqlError(f"{call.name}(): '{text[:80]}' is not a JSON path.", call.at, "SEM0240")
        if found[2]:
            place = int(found[2])
            steps.append(place + 1 if place >= 0 else place)
        else:
            steps.append(next(part for part in (found[1], found[3], found[4]) if part is not None))
        rest = rest[found.end() :]
    return steps


@coded("treepath")
def treepath(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The paths to all that is in a dynamic; members of an array are as one."""
    value = to_dynamic(*bound(binder, call, 1))
    work = LocalFunction(call.name, "dynamic", paths)
    found = binder.local.call(work, [value])
    found.name = f"tree_{value.name}"
    return found


def paths(value: Any) -> Any:
    """The distinct paths in the order of their coming, such as ``['a'][0]['b']``; null of a plain value."""
    if not isinstance(value, dict | list):
        return None
    found: dict[str, None] = {}
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        path, inner = pending.pop()
        if path:
            found[path] = None
        if isinstance(inner, dict):
            pending += [(f"{path}['{key}']", item) for key, item in reversed(inner.items())]
        elif isinstance(inner, list):
            pending += [(f"{path}[0]", item) for item in reversed(inner)]
    return list(found)


@coded("dynamic_to_json")
def dynamic_to_json(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The one JSON text of a value: keys in order. Of what is no dynamic, the text."""
    (value,) = bound(binder, call, 1)
    if value.type != "dynamic":
        return to_string(value)
    return binder.local.call(LocalFunction(call.name, "string", canonical), [value])


def canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
