"""What each shape of a field makes of its text, as SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from shieldwall.sources.mapping import Shape
from shieldwall.telemetry.row_filters import literal

_HIVES = {
    "HKLM": "HKEY_LOCAL_MACHINE",
    "HKU": "HKEY_USERS",
    "HKCU": "HKEY_CURRENT_USER",
    "HKCR": "HKEY_CLASSES_ROOT",
    r"\REGISTRY\MACHINE": "HKEY_LOCAL_MACHINE",
    r"\REGISTRY\USER": "HKEY_USERS",
}
_PROTOCOLS = {"1": "Icmp", "6": "Tcp", "17": "Udp", "58": "IcmpV6"}
_LOGON_TYPES = {
    "2": "Interactive",
    "3": "Network",
    "4": "Batch",
    "5": "Service",
    "7": "Unlock",
    "8": "NetworkCleartext",
    "9": "NewCredentials",
    "10": "RemoteInteractive",
    "11": "CachedInteractive",
}
_HASHES = {"SHA1": 40, "SHA256": 64, "MD5": 32}
"""Algorithms in the order of the columns, with their hex digits."""

Types = Mapping[str, str]
"""ClickHouse types of a table's columns."""


def converted(shape: Shape, columns: Sequence[str], text: str, types: Types) -> Iterator[tuple[str, str]]:
    """Each column of a field with the SQL of its value; ``text`` is SQL of the field's text, or of none."""
    values = _SHAPES[shape](text, [types[column] for column in columns])
    yield from zip(columns, values, strict=True)


def _value(text: str, types: Sequence[str]) -> list[str]:
    kind = types[0]
    if "String" in kind:
        return [text]
    if "Bool" in kind:
        lowered = f"lower({text})"
        return [f"multiIf({lowered} IN ('true', '1'), true, {lowered} IN ('false', '0'), false, NULL)"]
    if "DateTime64" in kind:
        return _time(text, types)
    return [f"to{kind.removeprefix('Nullable(').removesuffix(')')}OrNull({text})"]


def _hex(text: str, types: Sequence[str]) -> list[str]:
    digits = f"leftPad(substring({text}, 3), 16, '0')"
    return [
        f"if(match({text}, '^0[xX][0-9a-fA-F]{{1,16}}$'), "
        f"reinterpretAsInt64(reverse(unhex({digits}))), toInt64OrNull({text}))"
    ]


def _title(text: str, types: Sequence[str]) -> list[str]:
    return [f"concat(upper(substring({text}, 1, 1)), lower(substring({text}, 2)))"]


def _protocol(text: str, types: Sequence[str]) -> list[str]:
    [name] = _title(text, types)
    return [f"transform({text}, {list(_PROTOCOLS)}, {list(_PROTOCOLS.values())}, {name})"]


def _path(text: str, types: Sequence[str]) -> list[str]:
    return [text, f"substringIndex(substringIndex({text}, '\\\\', -1), '/', -1)"]


def _account(text: str, types: Sequence[str]) -> list[str]:
    place = f"position({text}, '\\\\')"
    return [f"substring({text}, 1, greatest({place}, 1) - 1)", f"substring({text}, {place} + 1)"]


def _hashes(text: str, types: Sequence[str]) -> list[str]:
    found = []
    for name, digits in _HASHES.items():
        place = f"position({text}, '{name}=')"
        value = f"lower(substring({text}, {place} + {len(name) + 1}, {digits}))"
        found.append(f"if({place} > 0 AND match({value}, '^[0-9a-f]{{{digits}}}$'), {value}, '')")
    return found


def _registry_key(text: str, types: Sequence[str]) -> list[str]:
    hives = ", ".join(
        f"startsWith({text}, {literal(short + chr(92))}), "
        f"concat({literal(name)}, substring({text}, {len(short) + 1}))"
        for short, name in _HIVES.items()
    )
    return [f"multiIf({hives}, {text})"]


def _registry_value(text: str, types: Sequence[str]) -> list[str]:
    after = f"position(reverse({text}), '\\\\')"
    before = f"if({after} = 0, {text}, substring({text}, 1, length({text}) - {after}))"
    [key] = _registry_key(before, types)
    return [key, f"if({after} = 0, '', right({text}, {after} - 1))"]


def _process(text: str, types: Sequence[str]) -> list[str]:
    bare = f"trim(BOTH '{{}}' FROM {text})"
    # The second and third groups are the seconds since 1970, the lower half first.
    digits = f"concat(substring({bare}, 15, 4), substring({bare}, 10, 4))"
    started = f"reinterpretAsUInt32(reverse(unhex({digits})))"
    return [
        bare,
        f"if(length({bare}) = 36 AND {started} > 0, toDateTime64({started}, 7, 'UTC'), NULL)",
    ]


def _time(text: str, types: Sequence[str]) -> list[str]:
    return [
        f"if(match({text}, '^\\\\d{{1,11}}(\\\\.\\\\d+)?$'), toDateTime64OrNull({text}, 7, 'UTC'), "
        f"parseDateTime64BestEffortOrNull({text}, 7, 'UTC'))"
    ]


def _joined(text: str, types: Sequence[str]) -> list[str]:
    return [
        f"if(startsWith({text}, '['), arrayStringConcat(JSONExtract({text}, 'Array(String)'), ','), {text})"
    ]


def _named(text: str, types: Sequence[str]) -> list[str]:
    return [f"if({text} = '-', '', {text})"] * len(types)


def _logon_type(text: str, types: Sequence[str]) -> list[str]:
    return [f"transform({text}, {list(_LOGON_TYPES)}, {list(_LOGON_TYPES.values())}, {text})"]


def _address(text: str, types: Sequence[str]) -> list[str]:
    bare = f"if(startsWith({text}, '::ffff:'), substring({text}, 8), {text})"
    return [f"if({bare} IN ('-', 'LOCAL'), '', {bare})"]


_SHAPES: Mapping[Shape, Callable[[str, Sequence[str]], list[str]]] = {
    Shape.VALUE: _value,
    Shape.HEX: _hex,
    Shape.TITLE: _title,
    Shape.NAMED: _named,
    Shape.LOGON_TYPE: _logon_type,
    Shape.PROTOCOL: _protocol,
    Shape.ADDRESS: _address,
    Shape.PATH: _path,
    Shape.ACCOUNT: _account,
    Shape.HASHES: _hashes,
    Shape.REGISTRY_KEY: _registry_key,
    Shape.REGISTRY_VALUE: _registry_value,
    Shape.PROCESS: _process,
    Shape.TIME: _time,
    Shape.JOINED: _joined,
}
