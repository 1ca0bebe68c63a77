"""From one type to another: tostring, toint and their like, tohex."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, coded
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, convert

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
    found = convert(value, CONVERSIONS[call.name], call.at)
    return found if found.name == value.name else replace(found, name=value.name)
