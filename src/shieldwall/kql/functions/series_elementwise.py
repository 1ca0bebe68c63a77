"""Series functions point by point: arithmetic, comparison, mathematics, filling. All in SQL.

What is no number gives null. Whole numbers stay whole where arithmetic leaves them so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.dynamics import element
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, Coded, coded
from shieldwall.kql.syntax import Call
from shieldwall.kql.types import NUMERIC
from shieldwall.kql.values import Value, convert, made, to_dynamic, to_json

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_MEMBER = sql.quote(r'"(?:[^"\\]|\\.)*"|[^\[\],\s"]+')
_NAMES = sql.quote(r'^"(NaN|-?Infinity)"$')
_TIME = sql.quote(r'^"\d{4}-\d\d-\d\dT')


def texts(array: str) -> str:
    """SQL of the JSON texts of an array's members as they are written, 1.0 as 1.0; ``array`` is short SQL."""
    nested = f"position({array}, '[', 2) > 0 OR position({array}, '{{') > 0"
    return f"if({nested}, JSONExtractArrayRaw({array}), extractAll({array}, {_MEMBER}))"


def number(text: str) -> str:
    """SQL of the real that SQL of the JSON text of a member stands for. Times are their ticks since 1970."""
    inner = f"substring({text}, 2, length({text}) - 2)"
    ticks = f"toFloat64(reinterpretAsInt64(parseDateTime64BestEffortOrNull({inner}, 7, 'UTC')))"
    quoted = (
        f"multiIf(match({text}, {_NAMES}), toFloat64OrNull({inner}), match({text}, {_TIME}), {ticks}, NULL)"
    )
    return f"if(startsWith({text}, '\"'), {quoted}, toFloat64OrNull({text}))"


def numbers(array: str) -> str:
    """SQL of the members of an array as reals, NULL where one is none."""
    return f"arrayMap(x -> {number('x')}, {texts(array)})"


def series_of(value: Value, call: Call) -> Value:
    """The argument as a series."""
    if value.type != "dynamic" and not value.is_null:
        raise KqlError(f"{call.name}() takes a dynamic array here, not a {value.type}.", call.at, "SEM0231")
    return to_dynamic(value)


def over_series(values: list[Value], body: str, otherwise: str = "''") -> str:
    """SQL of a body over ``s``, and ``t`` for a second one, that stand for series; else where one is none."""
    names = "st"[: len(values)]
    arrays = " AND ".join(f"startsWith({name}, '[')" for name in names)
    given = ", ".join(f"[{value.sql}]" for value in values)
    return f"arrayMap(({', '.join(names)}) -> if({arrays}, {body}, {otherwise}), {given})[1]"


def joined(members: str) -> str:
    return f"concat('[', arrayStringConcat({members}, ','), ']')"


_REAL_TEXT = to_json(Value("real", "v"))
_BOOL_TEXT = to_json(Value("bool", "v"))


def _mapped(names: str, arrays: list[str], real: str, whole: str = "", shown: str = _REAL_TEXT) -> str:
    """SQL of the JSON text of what ``real`` makes of reals {x} and {y}, and ``whole`` of whole numbers."""
    given = ", ".join(arrays)
    reals = real.format(**{name: number(name) for name in names})
    text = shown
    if whole:
        wholes = whole.format(**{name: f"toInt64OrNull({name})" for name in names})
        text = f"ifNull(toString({wholes}), {shown})"
    several = ", ".join(names)
    values = f"arrayMap(({several}) -> {reals}, {given})"
    return joined(f"arrayMap(({several}, v) -> assumeNotNull({text}), {given}, {values})")


def _unary(real: str, whole: str = "") -> Coded:
    """A function of each point of a series."""

    def work(binder: Binder, call: Call, _: list[Value]) -> Value:
        value = series_of(bound(binder, call, 1)[0], call)
        mapped = _mapped("x", ["a"], real, whole)
        return made("dynamic", over_series([value], f"arrayMap(a -> {mapped}, [{texts('s')}])[1]"), value)

    return work


def _binary(real: str, whole: str = "", shown: str = _REAL_TEXT) -> Coded:
    """A function of the points of two series, or of a series and a number at each of its points."""
    both = "greatest(length(a), length(b))"
    unequal = [f"arrayResize(a, {both}, 'null')", f"arrayResize(b, {both}, 'null')"]

    def work(binder: Binder, call: Call, _: list[Value]) -> Value:
        values = bound(binder, call, 2)
        single = [value.type in (*NUMERIC, "bool") and not value.is_null for value in values]
        if all(single):
            raise KqlError(f"{call.name}() takes a dynamic array.", call.at, "SEM0231")
        given = [
            value if alone else series_of(value, call) for value, alone in zip(values, single, strict=True)
        ]
        arrays = list(unequal)
        members = [texts(name) for name in "st"]
        if any(single):
            place = single.index(True)
            arrays = ["a", "b"]
            arrays[place] = f"arrayResize({'ab'[place]}, length({'ba'[place]}), {'ab'[place]}[1])"
            members = [texts("s"), texts("s")]
            members[place] = f"[assumeNotNull({_point(given[place])})]"
        mapped = _mapped("xy", arrays, real, whole, shown)
        body = f"arrayMap((a, b) -> {mapped}, [{members[0]}], [{members[1]}])[1]"
        series = [value for value, alone in zip(given, single, strict=True) if not alone]
        return made("dynamic", over_series(series, body), *given)

    return work


def _point(value: Value) -> str:
    """SQL of the JSON text of a number that stands for each point of a series."""
    return to_json(convert(value, "real") if value.type == "decimal" else value)


def _declare(make: Callable[..., Coded], table: dict[str, tuple[str, ...]]) -> None:
    for name, how in table.items():
        coded(name)(make(*how))


_declare(
    _unary,
    {
        "series_abs": ("abs({x})", "abs({x})"),
        "series_acos": ("acos({x})",),
        "series_asin": ("asin({x})",),
        "series_atan": ("atan({x})",),
        "series_ceiling": ("ceil({x})",),
        "series_cos": ("cos({x})",),
        "series_exp": ("exp({x})",),
        "series_floor": ("floor({x})",),
        "series_log": ("log({x})",),
        "series_sign": ("sign({x})", "sign({x})"),
        "series_sin": ("sin({x})",),
        "series_tan": ("tan({x})",),
    },
)
_declare(
    _binary,
    {
        "series_add": ("{x} + {y}", "{x} + {y}"),
        "series_divide": ("{x} / {y}",),
        "series_multiply": ("{x} * {y}", "{x} * {y}"),
        "series_pow": ("pow({x}, {y})",),
        "series_subtract": ("{x} - {y}", "{x} - {y}"),
    },
)
_declare(
    _binary,
    {
        f"series_{name}": (f"{{x}} {sign} {{y}}", "", _BOOL_TEXT)
        for name, sign in (
            ("equals", "="),
            ("greater", ">"),
            ("greater_equals", ">="),
            ("less", "<"),
            ("less_equals", "<="),
            ("not_equals", "!="),
        )
    },
)

NAMED_AFTER_ARGUMENT.update(("series_fill_backward", "series_fill_const", "series_fill_forward"))


def _missing(values: list[Value]) -> str:
    """SQL of whether ``x`` is a missing point: null, or the number that is said to stand for it."""
    if not values or values[0].is_null:
        return "x = 'null'"
    holder = convert(values[0], "real").sql
    return f"if(isNull({holder}), x = 'null', ifNull({number('x')} = {holder}, false))"


@coded("series_fill_backward", "series_fill_forward")
def series_fill(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Missing points as the nearest one that is known behind them, or before them."""
    value, *holder = bound(binder, call, 1, 2)
    value = series_of(value, call)
    function = "arrayFill" if call.name.endswith("forward") else "arrayReverseFill"
    body = joined(f"{function}(x -> NOT ({_missing(holder)}), {texts('s')})")
    return made("dynamic", over_series([value], body), value, *holder)


@coded("series_fill_const")
def series_fill_const(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Missing points as a constant."""
    value, filling, *holder = bound(binder, call, 2, 3)
    value = series_of(value, call)
    text = (
        f"assumeNotNull({element(filling)})"
        if filling.type != "real"
        else f"assumeNotNull({to_json(filling)})"
    )
    body = joined(f"arrayMap(x -> if({_missing(holder)}, {text}, x), {texts('s')})")
    return made("dynamic", over_series([value], body), value, filling, *holder)
