"""The tree of a ``$filter``: plain immutable data between the parser and the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

Value = str | int | float | bool | datetime | None


@dataclass(frozen=True)
class Literal:
    """A constant; numbers and times in quotes stay strings until the compiler knows what they meet."""

    value: Value


@dataclass(frozen=True)
class Path:
    """A property, or one inside another: ``relatedUser/userName``."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A function such as ``contains``; ``name`` is in lower case."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Comparison:
    """``operator`` is eq, ne, gt, ge, lt or le."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Membership:
    """``item in (values)``."""

    item: Expression
    values: tuple[Literal, ...]


@dataclass(frozen=True)
class Logical:
    """Two or more operands joined by one ``and`` or ``or``."""

    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class Not:
    operand: Expression


@dataclass(frozen=True)
class Lambda:
    """``collection/any(variable: condition)``, or ``all``; ``any()`` without a condition has neither."""

    quantifier: str
    collection: Path
    variable: str | None
    condition: Expression | None


Expression = Literal | Path | Call | Comparison | Membership | Logical | Not | Lambda
