"""From one type to another: tostring, toint and their like, tohex."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, coded, coerce
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, convert, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

CONVERSIONS = {
    "tostring": "string",
    "toint": "int",
    "tolong": "long",
    "toreal": "real",
    "todouble": "real",
    "todecimal": "decimal",
    "tobool": "bool",
    "toboolean": "bool",
    "todatetime": "datetime",
    "totimespan": "timespan",
    "totime": "timespan",
    "toguid": "guid",
}

NAMED_AFTER_ARGUMENT.update((*CONVERSIONS, "tohex"))


@coded(*CONVERSIONS)
def converted(binder: Binder, call: Call, args: list[Value]) -> Value:
    (value,) = bound(binder, call, 1)
    kind = CONVERSIONS[call.name]
    try:
        found = convert(value, kind, call.at)
    except KqlError:
        # What makes no sense gives null, as bad text does.
        found = constant(kind, None)
    return found if found.name == value.name else replace(found, name=value.name)


@coded("tohex")
def tohex(binder: Binder, call: Call, args: list[Value]) -> Value:
    """As hexadecimal digits, padded with zeros to a least length; negative ones as their bits."""
    number, *more = bound(binder, call, 1, 2)
    if number.type not in ("int", "dynamic"):
        number = coerce(number, "long", call, 0)
    elif number.type == "dynamic":
        number = convert(number, "long", call.at)
    bits = "toUInt32" if number.type == "int" else "toUInt64"
    digits = f"lower(hex({bits}({number.sql})))"
    text = sql.once(digits, lambda hexed: f"if(match({hexed}, '^0+$'), '0', trim(LEADING '0' FROM {hexed}))")
    if more:
        least = coerce(more[0], "long", call, 1)
        text = sql.once(
            text,
            lambda hexed: (
                f"leftPad({hexed}, greatest(least({least.sql}, 1000), toInt64(length({hexed}))), '0')"
            ),
        )
        return made("string", f"ifNull({text}, '')", number, least)
    return made("string", f"ifNull({text}, '')", number)
