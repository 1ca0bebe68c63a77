"""Titles and descriptions that name columns as ``{{Column}}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shieldwall.times import to_text

PLACES = 3
"""Most different columns that one text may name."""
VALUE_LIMIT = 300
"""Characters of one value in a text."""

_PLACE = re.compile(r"\{\{\s*([^{}]{0,200}?)\s*\}\}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff<>]+")
"""What does not belong into one line of plain text: controls, marks of direction, tags."""


def columns(text: str) -> list[str]:
    """The columns that a text names, each once."""
    return list(dict.fromkeys(_PLACE.findall(text)))


def filled(text: str, row: Mapping[str, Any]) -> str:
    """The text with the values of a row; a column that the row lacks gives nothing."""
    return _PLACE.sub(lambda place: clean(plain(row.get(place[1])), VALUE_LIMIT), text)


def plain(value: Any) -> str:
    """A value of a row as text, without NUL, which no database keeps."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def clean(text: str, limit: int) -> str:
    """One line without anything that could pass for more than text."""
    text = _UNSAFE.sub(" ", text).strip()
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
