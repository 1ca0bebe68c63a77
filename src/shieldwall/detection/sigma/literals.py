"""KQL text of strings and names."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u200b\ufeff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quoted(text: str) -> str:
    """A string literal; one with backslashes as a verbatim one, which is easier to read.

    >>> print(quoted("C:\\\\Temp"))
    @"C:\\Temp"
    """
    if _CONTROL.search(text):
        return '"' + "".join(_ESCAPES.get(char, char) for char in map(_coded, text)) + '"'
    if "\\" in text:
        return '@"' + text.replace('"', '""') + '"'
    return '"' + text.replace('"', '\\"') + '"'


def member(of: str, name: str) -> str:
    """A member of a dynamic column."""
    return f"{of}.{name}" if _NAME.fullmatch(name) else f"{of}[{quoted(name)}]"


def _coded(char: str) -> str:
    if char in _ESCAPES or not _CONTROL.fullmatch(char):
        return char
    return f"\\u{ord(char):04x}"
