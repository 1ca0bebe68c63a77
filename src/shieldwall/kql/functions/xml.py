"""XML as a dynamic."""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from shieldwall.kql.functions.registry import NAMED_AFTER_ARGUMENT, local

MOST_CHARACTERS = 1 << 20
MOST_DEPTH = 200

NAMED_AFTER_ARGUMENT.add("parse_xml")


class _Refused(Exception):
    """XML that declares entities, or is nested too deeply."""


class _Element:
    __slots__ = ("members", "text")

    def __init__(self, attributes: dict[str, str]) -> None:
        self.members: dict[str, Any] = {f"@{name}": value for name, value in attributes.items()}
        self.text: list[str] = []

    def add(self, name: str, value: Any) -> None:
        """A child; several of one name become an array."""
        if name not in self.members:
            self.members[name] = value
        elif isinstance(self.members[name], list):
            self.members[name].append(value)
        else:
            self.members[name] = [self.members[name], value]

    def value(self) -> Any:
        text = "".join(self.text).strip()
        if not self.members:
            return text or None
        return {"#text": text, **self.members} if text else self.members


@local("parse_xml(string) -> dynamic")
def parse_xml(text: str | None) -> Any:
    """A bag with the root element. Elements are bags, or text if they hold no others. None if it is none."""
    if not text or len(text) > MOST_CHARACTERS:
        return None
    open_elements = [_Element({})]
    reader = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > MOST_DEPTH:
            raise _Refused
        open_elements.append(_Element(attributes))

    def end(name: str) -> None:
        done = open_elements.pop()
        open_elements[-1].add(name, done.value())

    def refuse(*_: Any) -> None:
        raise _Refused

    reader.StartElementHandler = start
    reader.EndElementHandler = end
    reader.CharacterDataHandler = lambda data: open_elements[-1].text.append(data)
    reader.EntityDeclHandler = refuse
    try:
        reader.Parse(text, True)
    except (expat.ExpatError, _Refused, ValueError):
        return None
    return open_elements[0].members or None
