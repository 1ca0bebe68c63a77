"""Hashes of values. Of a value that is no string, ``hash`` takes its bytes and the others its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce, declare
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import EPOCH_TICKS, Value, made, ticks_of, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

declare("""
hash_md5(string) -> string | lower(hex(MD5({0})))
hash_sha1(string) -> string | lower(hex(SHA1({0})))
hash_sha256(string) -> string | lower(hex(SHA256({0})))
""")


def _xxhash(value: Value) -> str:
    """SQL of the unsigned 64-bit xxHash of a value."""
    if value.type in ("string", "dynamic", "decimal"):
        return f"xxHash64({to_string(value).sql})"
    if value.type == "datetime":
        return f"xxHash64(toInt64({ticks_of(value.sql)} + {EPOCH_TICKS}))"
    if value.type in ("long", "timespan"):
        return f"xxHash64(toInt64({value.sql}))"
    if value.type == "guid":
        return f"xxHash64(UUIDStringToNum(toString({value.sql}), 2))"
    kinds = {"int": "toInt32", "bool": "toUInt8", "real": "toFloat64"}
    return f"xxHash64({kinds[value.type]}({value.sql}))"


@coded("hash", "hash_xxhash64")
def hash_(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A number for a value, from 0 up to but without the modulus if that is given."""
    value, *modulus = bound(binder, call, 1, 2)
    text = _xxhash(value)
    if modulus:
        by = coerce(modulus[0], "long", call, 1)
        if isinstance(by.constant, int) and by.constant < 1:
            raise KqlError(f"{call.name}(): the modulus must be more than 0.", call.at, "SEM0240")
        divisor = by.sql if by.is_constant else f"nullIf(greatest({by.sql}, 0), 0)"
        return made("long", f"toInt64({text} % {divisor})", value, by)
    return made("long", f"reinterpretAsInt64({text})", value)


@coded("hash_many")
def hash_many(binder: Binder, call: Call, _: list[Value]) -> Value:
    """One number for several values."""
    values = bound(binder, call, 1, 10_000)
    return made("long", f"reinterpretAsInt64({_combined([_xxhash(value) for value in values])})", *values)


@coded("hash_combine")
def hash_combine(binder: Binder, call: Call, _: list[Value]) -> Value:
    """One number for several hashes; for those of values the same as ``hash_many`` gives."""
    values = [
        coerce(value, "long", call, place) for place, value in enumerate(bound(binder, call, 2, 10_000))
    ]
    hashes = [f"reinterpretAsUInt64(toInt64({value.sql}))" for value in values]
    return made("long", f"reinterpretAsInt64({_combined(hashes)})", *values)


def _combined(hashes: list[str]) -> str:
    found, *others = hashes
    for other in others:
        found = f"xxHash64({found}, {other})"
    return found
