"""Between strings and the numbers of their characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder


@coded("unicode_codepoints_from_string", "to_utf8")
def codepoints_from_string(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The codepoint of each character."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    characters = f"extractAll({text.sql}, '(?s).')"

    def byte(place: int, bits: int, shift: int) -> str:
        value = f"bitAnd(reinterpretAsUInt8(substring(c, {place}, 1)), {bits})"
        return f"bitShiftLeft(toUInt32({value}), {shift})" if shift else value

    code = (
        f"multiIf(length(c) = 1, {byte(1, 255, 0)}, length(c) = 2, {byte(1, 31, 6)} + {byte(2, 63, 0)}, "
        f"length(c) = 3, {byte(1, 15, 12)} + {byte(2, 63, 6)} + {byte(3, 63, 0)}, "
        f"{byte(1, 7, 18)} + {byte(2, 63, 12)} + {byte(3, 63, 6)} + {byte(4, 63, 0)})"
    )
    return made("dynamic", f"toJSONString(arrayMap(c -> {code}, {characters}))", text)


@coded("unicode_codepoints_to_string", "make_string")
def codepoints_to_string(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The characters of codepoints, given as numbers or arrays of them; empty if one is no codepoint."""
    values = bound(binder, call, 1, 10_000)
    arrays: list[str] = []
    singles: list[str] = []
    for place, value in enumerate(values):
        if value.type == "dynamic":
            if singles:
                arrays.append(f"[{', '.join(singles)}]")
                singles = []
            arrays.append(f"JSONExtract({value.sql}, 'Array(Int64)')")
        else:
            singles.append(f"toInt64(ifNull({coerce(value, 'long', call, place).sql}, -1))")
    if singles:
        arrays.append(f"[{', '.join(singles)}]")
    codes = arrays[0] if len(arrays) == 1 else f"arrayConcat({', '.join(arrays)})"

    def tail(shift: int) -> str:
        return f"128 + bitAnd(bitShiftRight(c, {shift}), 63)" if shift else "128 + bitAnd(c, 63)"

    character = (
        f"multiIf(c < 128, char(c), c < 2048, char(192 + bitShiftRight(c, 6), {tail(0)}), "
        f"c < 65536, char(224 + bitShiftRight(c, 12), {tail(6)}, {tail(0)}), "
        f"char(240 + bitShiftRight(c, 18), {tail(12)}, {tail(6)}, {tail(0)}))"
    )
    joined = f"arrayStringConcat(arrayMap(c -> {character}, {codes}))"
    wrong = f"arrayExists(c -> c < 0 OR c > 1114111 OR (c >= 55296 AND c < 57344), {codes})"
    return made("string", f"if({wrong}, '', {joined})", *values)
