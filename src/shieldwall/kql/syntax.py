"""The syntax tree. ``at`` is the offset of a node in the query's text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Node:
    at: int


@dataclass(slots=True)
class Literal(Node):
    """``value`` is None for null, else str, bool, int, float, ticks (timespan) or text (datetime, guid)."""

    type: str
    value: Any


@dataclass(slots=True)
class Name(Node):
    name: str


@dataclass(slots=True)
class Star(Node):
    """``*``, or a name with wildcards such as ``Initiating*``."""

    pattern: str = "*"


@dataclass(slots=True)
class Member(Node):
    of: Expr
    name: str


@dataclass(slots=True)
class Index(Node):
    of: Expr
    index: Expr


@dataclass(slots=True)
class Unary(Node):
    op: str
    of: Expr


@dataclass(slots=True)
class Binary(Node):
    op: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Between(Node):
    of: Expr
    low: Expr
    high: Expr
    negated: bool


@dataclass(slots=True)
class In(Node):
    """``op`` is in, !in, in~, !in~, has_any, !has_any or has_all."""

    op: str
    of: Expr
    items: list[Expr]


@dataclass(slots=True)
class Call(Node):
    name: str
    args: list[Expr]


@dataclass(slots=True)
class Named(Node):
    """``name = value``, or ``(a, b) = value``, or a named argument; type is of ``name: type = value``."""

    names: list[str]
    value: Expr
    several: bool = False


@dataclass(slots=True)
class Ordered(Node):
    """A key of sort or top; nulls is first, last or empty for the default."""

    value: Expr
    descending: bool = True
    nulls: str = ""


@dataclass(slots=True)
class TypeOf(Node):
    """``typeof(long)``, or a schema ``typeof(a: long, b: string)`` or ``typeof(*, a: long)``."""

    columns: list[tuple[str, str]]


@dataclass(slots=True)
class Query(Node):
    """A tabular expression where a scalar may stand: in toscalar, in ``in (T | project x)``."""

    pipeline: Pipeline


Expr = (
    Literal
    | Name
    | Star
    | Member
    | Index
    | Unary
    | Binary
    | Between
    | In
    | Call
    | Named
    | Ordered
    | TypeOf
    | Query
)


@dataclass(slots=True)
class Operator(Node):
    """A tabular operator: its name, and its parts by name as its parser lists them."""

    name: str
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Pipeline(Node):
    """Where rows come from, then what is done with them."""

    source: Expr | Operator | Pipeline
    operators: list[Operator]


@dataclass(slots=True)
class Parameter(Node):
    """``type`` is a scalar type, or table, with ``columns`` if they are declared (None: any)."""

    name: str
    type: str
    default: Expr | None = None
    columns: list[tuple[str, str]] | None = None


@dataclass(slots=True)
class Function(Node):
    parameters: list[Parameter]
    body: list[Statement]
    view: bool = False
    """Whether wildcards find it."""


@dataclass(slots=True)
class Let(Node):
    name: str
    value: Expr | Pipeline | Function


@dataclass(slots=True)
class SetOption(Node):
    name: str
    value: Any


@dataclass(slots=True)
class QueryParameters(Node):
    parameters: list[Parameter]


Statement = Let | SetOption | QueryParameters | Pipeline

_FIELDS: dict[type, tuple[str, ...]] = {}


def walk(node: Any) -> Iterator[Any]:
    """A node and all that lie in it, outer ones first."""
    pending = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, list | tuple):
            pending.extend(reversed(item))
        elif isinstance(item, dict):
            pending.extend(reversed(list(item.values())))
        elif isinstance(item, Node):
            yield item
            kind = type(item)
            if (names := _FIELDS.get(kind)) is None:
                names = _FIELDS[kind] = tuple(part.name for part in fields(kind) if part.name != "at")
            pending.extend(getattr(item, name) for name in reversed(names))
