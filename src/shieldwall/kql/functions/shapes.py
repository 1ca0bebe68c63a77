"""Dynamics made of SQL of strings: arrays and bags whose members are read without JSON in between."""

from __future__ import annotations

import re

from shieldwall.kql import sql
from shieldwall.kql.values import Value, made

_PLACE = re.compile(r"-?\d+")


def strings(array: str, *of: Value, null: str = "") -> Value:
    """An array of strings by SQL of an Array(String); null where SQL of a condition, if given, holds."""

    def reader(index: str) -> Value | None:
        if index.startswith("'"):
            return None
        text = f"{array}[{index}]"
        if _PLACE.fullmatch(index):
            outside = f"length({array}) < {index.lstrip('-')}"
        else:
            outside = f"length({array}) < abs({index})"
        return made("dynamic", f"if({outside}, '', toJSONString({text}))", *of, string=text)

    json = f"toJSONString({array})"
    return made("dynamic", f"if({null}, '', {json})" if null else json, *of, reader=reader)


def held_text(text: str, *of: Value) -> Value:
    """A dynamic that holds a string."""
    return made("dynamic", f"toJSONString({text})", *of, string=text)


def bag(members: dict[str, Value]) -> Value:
    """A bag of dynamics that are never null, by keys of letters and blanks."""
    parts: list[str] = []
    for key, value in members.items():
        before = "," if parts else ""
        parts += (sql.quote(f'{before}"{key}":'), value.sql)
    by_index = {sql.quote(key): key for key in members}

    def reader(index: str) -> Value | None:
        found = members.get(by_index.get(index, ""))
        return found and made("dynamic", found.sql, found, string=found.string, reader=found.reader)

    return made("dynamic", f"concat('{{', {', '.join(parts)}, '}}')", *members.values(), reader=reader)
