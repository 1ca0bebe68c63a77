"""JSON in any arrangement as one object a line: lines already, an array, or objects over several lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

LINE_BYTES = 16 << 20
"""Longest record."""
_PART = 1 << 20
_DECODER = json.JSONDecoder()


class BadJson(ValueError):
    """The text is not JSON from here on."""


def first_object(head: bytes) -> dict[str, Any] | None:
    """The first object in the beginning of a file; None when it holds no whole one."""
    text = head.decode("utf-8-sig", "replace").lstrip().removeprefix("[").lstrip()
    try:
        found, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_lines(head: bytes) -> bool:
    """Whether records come one a line: the first line is an object by itself, or is broken like a line."""
    line, _, rest = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    line = line.strip()
    if not line.startswith(b"{"):
        return False
    return (line.endswith(b"}") and len(line) > 1) or rest.lstrip().startswith(b'{"')


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines as they are, blank ones left out."""
    first = True
    while line := stream.readline(LINE_BYTES):
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        if stripped := line.strip():
            yield stripped


def objects(stream: BinaryIO) -> Iterator[bytes]:
    """Each value of an array, or of values one after another, on a line. BadJson where it is JSON no more."""
    text = ""
    decoder = _Incremental(stream)
    inside = False
    while True:
        text = text.lstrip()
        if not text:
            text = decoder.more()
            if not text:
                return
            continue
        if text[0] == "[" and not inside:
            inside, text = True, text[1:]
        elif text[0] in ",]" and inside:
            inside, text = text[0] != "]", text[1:]
        else:
            value, text = _value(text, decoder)
            yield value


class _Incremental:
    """Text of a stream in parts, whole characters only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rest = b""
        self._began = False

    def more(self) -> str:
        part = self._stream.read(_PART)
        if not part:
            last, self._rest = self._rest, b""
            return last.decode("utf-8", "replace")
        data = self._rest + part
        if not self._began:
            data, self._began = data.removeprefix(b"\xef\xbb\xbf"), True
        # A character may be cut: its first bytes wait for the rest.
        end = len(data)
        while end > len(data) - 4 and end > 0 and data[end - 1] & 0xC0 == 0x80:
            end -= 1
        if end > 0 and data[end - 1] >= 0xC0:
            end -= 1
        else:
            end = len(data)
        self._rest = data[end:]
        return data[:end].decode("utf-8", "replace")


def _value(text: str, decoder: _Incremental) -> tuple[bytes, str]:
    """One value from the front of the text, and what follows it."""
    while True:
        try:
            _, end = _DECODER.raw_decode(text)
        except RecursionError:
            raise BadJson("the JSON is nested too deeply") from None
        except ValueError as error:
            more = decoder.more() if len(text) < LINE_BYTES else ""
            if not more:
                raise BadJson(f"not JSON from here on: {text[:60]!r} ({error})") from None
            text += more
            continue
        written = text[:end]
        if "\n" in written:
            return orjson.dumps(json.loads(written)), text[end:]
        return written.encode(), text[end:]
