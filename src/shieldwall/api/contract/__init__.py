"""What the API has to be, as data: every operation and every entity of the service, in the YAML files here.

An operation is written under its method and path. Types are ``string``, ``int``, ``long``, ``double``,
``bool``, ``datetime``, ``guid``, ``object``, the name of an entity, or ``array<...>`` of one; ``?`` after a
type means that null may come, ``!`` that a body must have it; what follows are the values that there are,
with ``...`` where there may be others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from shieldwall.data_files import read_yaml

_FOLDER = files(__package__)
_KEY = re.compile(r"(\w+) (\S+)(?: \((\w+)\))?")
_TYPE = re.compile(r"(?P<name>@?[\w.]+)(?:<(?P<of>\w+)>)?(?P<needed>!)?(?P<null>\?)?(?: (?P<values>.*))?")
_ANSWER = re.compile(r"(?P<status>\d+)(?: (?P<open>\[)?(?P<kind>[\w.]+)\]?)?")

UNWRITTEN = "unwritten"
"""The area of what clients call though no page documents it."""


@dataclass(frozen=True)
class Type:
    """What a property holds. ``of`` is what an array is of; ``values`` is empty where any will do."""

    name: str
    of: str = ""
    nullable: bool = False
    required: bool = False
    values: tuple[str, ...] = ()
    open: bool = False
    """Whether there may be other values than ``values``."""


@dataclass(frozen=True)
class Answer:
    """The answer to a good request; ``kind`` is an entity, ``number``, ``Edm.String``, or empty for none."""

    status: int
    kind: str = ""
    many: bool = False


@dataclass(frozen=True)
class Limit:
    """Calls that one application may make within ``seconds``."""

    calls: int
    seconds: int


@dataclass(frozen=True)
class Operation:
    """One operation. ``top`` is the largest page; ``parameters`` have True where they must be given."""

    area: str
    method: str
    path: str
    title: str
    answer: Answer
    grant: str = ""
    """The kind of grant, where one path of the token endpoint serves several."""
    application: tuple[str, ...] = ()
    delegated: tuple[str, ...] = ()
    filter: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    top: int | None = None
    skip: bool = False
    parameters: Mapping[str, bool] | None = None
    body: Mapping[str, Type] | None = None
    errors: tuple[tuple[int, str], ...] = ()
    """Status and code, besides 401, 403 and 429, which any operation may answer."""
    limits: tuple[Limit, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}" + (f" ({self.grant})" if self.grant else "")

    @property
    def documented(self) -> bool:
        return self.area != UNWRITTEN


@dataclass(frozen=True)
class Contract:
    operations: tuple[Operation, ...]
    entities: Mapping[str, Mapping[str, Type]]


@cache
def load() -> Contract:
    """The whole contract; ValueError names what cannot be read."""
    operations: list[Operation] = []
    entities: dict[str, Mapping[str, Type]] = {}
    for file in sorted(_FOLDER.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".yaml"):
            area = file.name.removesuffix(".yaml")
            content = read_yaml(file)
            operations += [_operation(area, key, each) for key, each in content["operations"].items()]
            for name, properties in content.get("entities", {}).items():
                entities[name] = {key: read_type(text) for key, text in properties.items()}
    return Contract(tuple(operations), entities)


def shape(path: str) -> str:
    """A path with nothing left but what tells it from others: lower case, parameters without names.

    >>> shape("/api/machines/{machine_id}/Isolate")
    '/api/machines/{}/isolate'
    """
    return re.sub(r"\{[^{}]*\}", "{}", path).lower()


def read_type(text: str) -> Type:
    found = _TYPE.fullmatch(text)
    if found is None:
        raise ValueError(f"not a type: {text!r}")
    values = [value.strip() for value in (found["values"] or "").split("|")] if found["values"] else []
    return Type(
        found["name"],
        found["of"] or "",
        nullable=bool(found["null"]),
        required=bool(found["needed"]),
        values=tuple(value for value in values if value != "..."),
        open=not values or "..." in values,
    )


def _operation(area: str, key: str, content: Mapping[str, Any]) -> Operation:
    found = _KEY.fullmatch(key)
    answer = _ANSWER.fullmatch(str(content["answer"]))
    if found is None or answer is None:
        raise ValueError(f"not an operation: {key!r}")
    body = content.get("body")
    return Operation(
        area,
        found[1],
        found[2],
        content["title"],
        Answer(int(answer["status"]), answer["kind"] or "", many=bool(answer["open"])),
        grant=found[3] or "",
        application=tuple(content.get("application", ())),
        delegated=tuple(content.get("delegated", ())),
        filter=tuple(content.get("filter", ())),
        expand=tuple(content.get("expand", ())),
        top=content.get("top"),
        skip=content.get("skip", False),
        parameters={name.rstrip("!"): name.endswith("!") for name in content.get("parameters", ())},
        body=None if body is None else {name: read_type(text) for name, text in body.items()},
        errors=tuple((int(text[:3]), text[4:]) for text in content.get("errors", ())),
        limits=tuple(map(_limit, content.get("limit", "").split())),
    )


def _limit(text: str) -> Limit:
    calls, _, unit = text.partition("/")
    return Limit(int(calls), {"minute": 60, "hour": 3600}[unit])
