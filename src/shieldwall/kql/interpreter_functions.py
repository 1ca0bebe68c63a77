"""Functions that expressions in Python may call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import SECOND
from shieldwall.kql.interpreter import Computed, as_type, constant, strict, text_of
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC, TYPE_NAMES, wider

Function = Callable[[Call, list[Computed]], Computed]
FUNCTIONS: dict[str, Function] = {}

DAY = 86_400 * SECOND


def _function(*names: str, least: int = 1, most: int = 1) -> Callable[[Function], Function]:
    def take(work: Function) -> Function:
        def checked(node: Call, args: list[Computed]) -> Computed:
            if not least <= len(args) <= most:
                raise KqlError(f"{node.name}() does not take {len(args)} arguments.", node.at, "SEM0219")
            return work(node, args)

        for name in names:
            FUNCTIONS[name] = checked
        return work

    return take


def _typed(args: list[Computed]) -> tuple[str, list[Computed]]:
    """Values that may stand for each other, as their common type."""
    kind = args[0].type
    for item in args[1:]:
        if item.type in NUMERIC and kind in NUMERIC:
            kind = wider(kind, item.type)
        elif item.type != kind:
            kind = "dynamic"
    return kind, [as_type(item, kind) for item in args]


@_function("iff", "iif", least=3, most=3)
def _iff(node: Call, args: list[Computed]) -> Computed:
    condition = args[0].run
    kind, (then, other) = _typed(args[1:])
    return Computed(kind, lambda state: then.run(state) if condition(state) else other.run(state))


@_function("case", least=3, most=999)
def _case(node: Call, args: list[Computed]) -> Computed:
    if len(args) % 2 == 0:
        raise KqlError("case() takes pairs of a condition and a value, then one more value.", node.at)
    kind, values = _typed([*args[1::2], args[-1]])
    pairs = list(zip((item.run for item in args[:-1:2]), (item.run for item in values), strict=False))
    last = values[-1].run

    def run(state: Any) -> Any:
        for condition, value in pairs:
            if condition(state):
                return value(state)
        return last(state)

    return Computed(kind, run)


@_function("coalesce", least=1, most=64)
def _coalesce(node: Call, args: list[Computed]) -> Computed:
    kind, values = _typed(args)
    empty = (None, "") if kind == "string" else (None,)

    def run(state: Any) -> Any:
        value = None
        for item in values:
            value = item.run(state)
            if value not in empty:
                return value
        return value

    return Computed(kind, run)


@_function("isnull")
def _isnull(node: Call, args: list[Computed]) -> Computed:
    value = args[0]
    return Computed("bool", lambda state: value.type != "string" and value.run(state) is None)


@_function("isnotnull")
def _isnotnull(node: Call, args: list[Computed]) -> Computed:
    value = args[0]
    return Computed("bool", lambda state: value.type == "string" or value.run(state) is not None)


@_function("isempty")
def _isempty(node: Call, args: list[Computed]) -> Computed:
    value = args[0].run
    return Computed("bool", lambda state: value(state) in (None, ""))


@_function("isnotempty", "notempty")
def _isnotempty(node: Call, args: list[Computed]) -> Computed:
    value = args[0].run
    return Computed("bool", lambda state: value(state) not in (None, ""))


@_function("not")
def _not(node: Call, args: list[Computed]) -> Computed:
    return Computed("bool", strict(lambda value: not value, args[0]))


def _conversion(kind: str) -> Function:
    return lambda node, args: as_type(args[0], kind)


for _name, _kind in TYPE_NAMES.items():
    _function(f"to{_name}")(_conversion(_kind))
_function("todynamic", "toobject", "parse_json")(_conversion("dynamic"))


@_function("strcat", least=1, most=64)
def _strcat(node: Call, args: list[Computed]) -> Computed:
    return Computed("string", lambda state: "".join(text_of(item.run(state), item.type) for item in args))


@_function("strcat_delim", least=2, most=64)
def _strcat_delim(node: Call, args: list[Computed]) -> Computed:
    parts = [as_type(item, "string").run for item in args]
    return Computed("string", lambda state: parts[0](state).join(part(state) for part in parts[1:]))


def _text(work: Callable[[str], Any], kind: str = "string") -> Function:
    return lambda node, args: Computed(kind, strict(work, as_type(args[0], "string")))


_function("tolower")(_text(str.lower))
_function("toupper")(_text(str.upper))
_function("strlen")(_text(len, "long"))


@_function("substring", least=2, most=3)
def _substring(node: Call, args: list[Computed]) -> Computed:
    def work(text: str, start: int, size: int = 1 << 31) -> str:
        start = max(start + len(text), 0) if start < 0 else start
        return text[start : start + max(size, 0)]

    return Computed("string", strict(work, as_type(args[0], "string"), *args[1:]))


def _number(work: Callable[[float], Any], kind: str = "") -> Function:
    return lambda node, args: Computed(kind or args[0].type, strict(work, args[0]))


_function("abs")(_number(abs))
_function("sign")(_number(lambda value: (value > 0) - (value < 0), "long"))
_function("sqrt")(_number(math.sqrt, "real"))
_function("exp")(_number(math.exp, "real"))
_function("log")(_number(math.log, "real"))
_function("log2")(_number(math.log2, "real"))
_function("log10")(_number(math.log10, "real"))
_function("ceiling")(_number(lambda value: float(math.ceil(value)), "real"))


@_function("pow", least=2, most=2)
def _pow(node: Call, args: list[Computed]) -> Computed:
    return Computed("real", strict(lambda base, power: float(base) ** power, *args))


@_function("round", least=1, most=2)
def _round(node: Call, args: list[Computed]) -> Computed:
    return Computed("real", strict(lambda value, digits=0: float(round(value, digits)), *args))


@_function("bin", "floor", least=1, most=2)
def _bin(node: Call, args: list[Computed]) -> Computed:
    sized = args if len(args) == 2 else [*args, constant("long", 1)]
    kind = args[0].type
    # Datetimes are told from 1970, which lies on no week.
    shift = 719_162 * DAY if kind == "datetime" else 0
    return Computed(kind, strict(lambda value, size: (value + shift) // size * size - shift, *sized))


@_function("min_of", least=1, most=64)
def _min_of(node: Call, args: list[Computed]) -> Computed:
    return _extreme(args, min)


@_function("max_of", least=1, most=64)
def _max_of(node: Call, args: list[Computed]) -> Computed:
    return _extreme(args, max)


def _extreme(args: list[Computed], work: Callable[..., Any]) -> Computed:
    kind, values = _typed(args)

    def run(state: Any) -> Any:
        found = [value for item in values if (value := item.run(state)) is not None]
        return work(found) if found else None

    return Computed(kind, run)


_UNITS = {
    "week": 7 * DAY, "day": DAY, "hour": 3600 * SECOND, "minute": 60 * SECOND, "second": SECOND,
    "millisecond": 10_000, "microsecond": 10,
}  # fmt: skip


@_function("datetime_diff", least=3, most=3)
def _datetime_diff(node: Call, args: list[Computed]) -> Computed:
    def work(part: str, later: int, earlier: int) -> int | None:
        unit = _UNITS.get(part.lower())
        return None if unit is None else later // unit - earlier // unit

    return Computed("long", strict(work, *args))


@_function("startofday", least=1, most=2)
def _startofday(node: Call, args: list[Computed]) -> Computed:
    return Computed("datetime", strict(lambda value, offset=0: (value // DAY + offset) * DAY, *args))


@_function("array_length")
def _array_length(node: Call, args: list[Computed]) -> Computed:
    return Computed("long", strict(lambda value: len(value) if isinstance(value, list) else None, args[0]))


@_function("pack_array", least=0, most=999)
def _pack_array(node: Call, args: list[Computed]) -> Computed:
    parts = [as_type(item, "dynamic").run for item in args]
    return Computed("dynamic", lambda state: [part(state) for part in parts])


@_function("bag_pack", "pack", "pack_dictionary", least=0, most=999)
def _bag_pack(node: Call, args: list[Computed]) -> Computed:
    keys = [as_type(item, "string").run for item in args[::2]]
    values = [as_type(item, "dynamic").run for item in args[1::2]]
    pairs = list(zip(keys, values, strict=False))
    return Computed("dynamic", lambda state: {key(state): value(state) for key, value in pairs})


@_function("array_concat", least=1, most=64)
def _array_concat(node: Call, args: list[Computed]) -> Computed:
    def run(state: Any) -> list[Any]:
        return [item for part in args if isinstance(value := part.run(state), list) for item in value]

    return Computed("dynamic", run)


@_function("set_union", least=1, most=64)
def _set_union(node: Call, args: list[Computed]) -> Computed:
    def run(state: Any) -> list[Any]:
        found: list[Any] = []
        for part in args:
            value = part.run(state)
            for item in value if isinstance(value, list) else ():
                if item not in found:
                    found.append(item)
        return found

    return Computed("dynamic", run)


@_function("set_has_element", least=2, most=2)
def _set_has_element(node: Call, args: list[Computed]) -> Computed:
    return Computed("bool", strict(lambda values, item: item in values, args[0], as_type(args[1], "dynamic")))


@_function("bag_merge", least=1, most=64)
def _bag_merge(node: Call, args: list[Computed]) -> Computed:
    def run(state: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in args:
            value = part.run(state)
            for key, item in value.items() if isinstance(value, dict) else ():
                found.setdefault(key, item)
        return found

    return Computed("dynamic", run)
