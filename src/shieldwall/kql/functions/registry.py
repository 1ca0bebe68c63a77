"""How functions are declared: a line with a signature and the SQL it becomes, or a Python function.

A line reads ``name(type, type = default, type...) -> type | SQL``. In the SQL, ``{0}`` is the first argument
and ``{*}`` are all from the one that ends in dots. Types are Kusto's, or ``any``, ``number`` (any of those),
``summable`` (a number or timespan) and ``comparable``; ``-> same`` is the type of the first argument,
``-> wider`` the widest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.types import NUMERIC, TYPE_NAMES, wider
from shieldwall.kql.values import Value, constant, convert, made, to_string

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder
    from shieldwall.kql.syntax import Call

Coded = Callable[["Binder", "Call", list[Value]], Value]


@dataclass(frozen=True, slots=True)
class Param:
    type: str
    optional: bool = False
    default: Any = None
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """One line of a table."""

    name: str
    params: tuple[Param, ...]
    returns: str
    template: str
    naming: str = ""

    def accepts(self, count: int) -> bool:
        least = sum(1 for param in self.params if not param.optional)
        most = 10_000 if self.params and self.params[-1].repeated else len(self.params)
        return least <= count <= most


SCALARS: dict[str, list[Signature]] = {}
AGGREGATES: dict[str, list[Signature]] = {}
CODED: dict[str, Coded] = {}
CODED_AGGREGATES: dict[str, Coded] = {}
LOCALS: dict[str, tuple[list[Signature], Callable[..., Any]]] = {}
"""Functions that only Python computes; it takes and gives values as a Frame holds them."""

COLLECTED: dict[str, tuple[str, str, str]] = {}
"""Aggregates that Python computes: which other one collects what it needs, the local function over that, and
what the names of their columns begin with."""

NAMED_AFTER_ARGUMENT: set[str] = set()
"""Functions whose result is named after their first argument when nothing else names it."""
NAMED_AFTER_CALL: set[str] = set()
"""Functions whose result is named after them and their first argument, as ``strlen_x``."""


def is_aggregate(name: str) -> bool:
    return name in AGGREGATES or name in CODED_AGGREGATES


_LINE = re.compile(r"(\w+)\((.*?)\)\s*->\s*(\w+)\s*\|\s*(.*)")


def declare(table: str, into: dict[str, list[Signature]] = SCALARS) -> None:
    """Take in a table of signatures; a line that begins with blanks goes on with the one before."""
    lines: list[str] = []
    for line in table.strip("\n").splitlines():
        if line.startswith("    ") and lines:
            lines[-1] += " " + line.strip()
        elif line.strip():
            lines.append(line.strip())
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"not a signature: {line}")
        name, params, returns, template = found.groups()
        into.setdefault(name, []).append(Signature(name, tuple(_params(params)), returns, template))


def _params(text: str) -> list[Param]:
    found: list[Param] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        kind, _, default = (piece.strip() for piece in part.partition("="))
        repeated = kind.endswith("...")
        value: Any = None
        if default:
            value = (
                default.strip("'")
                if default[0] == "'"
                else (float(default) if "." in default else int(default))
            )
        found.append(Param(kind.removesuffix("..."), bool(default) or repeated, value, repeated))
    return found


def coded(*names: str, into: dict[str, Coded] = CODED) -> Callable[[Coded], Coded]:
    """Declare a function that needs more than a template."""

    def take(function: Coded) -> Coded:
        for name in names:
            into[name] = function
        return function

    return take


def alias(table: dict[str, Any], **names: str) -> None:
    """Other names of the same functions."""
    for name, of in names.items():
        table[name] = table[of]


def apply(signatures: Sequence[Signature], call: Call, args: list[Value]) -> Value:
    """The value of a call by the signature that fits its arguments."""
    return _apply(*fitted(signatures, call, args))


def fitted(signatures: Sequence[Signature], call: Call, args: list[Value]) -> tuple[Signature, list[Value]]:
    """The signature that fits the arguments, and those as its parameters want them, defaults included."""
    fitting = [item for item in signatures if item.accepts(len(args))]
    if not fitting:
        raise KqlError(
            f"{call.name}() does not take {len(args)} argument{'s' * (len(args) != 1)}.", call.at, "SEM0219"
        )
    chosen = fitting[0]
    if len(fitting) > 1:
        exact = [item for item in fitting if all(_fits(item, number, arg) for number, arg in enumerate(args))]
        chosen = exact[0] if exact else chosen
    values = [coerce(arg, _param(chosen, number).type, call, number) for number, arg in enumerate(args)]
    for param in chosen.params[len(values) :]:
        if not param.repeated:
            kind = param.type if param.type in TYPE_NAMES else "long"
            values.append(constant(kind, param.default))
    return chosen, values


def local(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function in Python by ``name(type, type = default) -> type``; null arguments come as None."""

    def take(work: Callable[..., Any]) -> Callable[..., Any]:
        into: dict[str, list[Signature]] = {}
        declare(f"{signature} | -", into)
        for name, signatures in into.items():
            LOCALS[name] = (LOCALS[name][0] + signatures if name in LOCALS else signatures, work)
        return work

    return take


def _param(signature: Signature, number: int) -> Param:
    return signature.params[min(number, len(signature.params) - 1)]


def _fits(signature: Signature, number: int, value: Value) -> bool:
    wanted = _param(signature, number).type
    if wanted == "number":
        return value.type in NUMERIC
    return wanted in ("any", value.type) or (wanted == "real" and value.type in NUMERIC)


def _apply(signature: Signature, values: list[Value]) -> Value:
    texts = [value.sql for value in values]
    text = signature.template
    if "{*}" in text:
        fixed = len(signature.params) - 1
        text = text.replace("{*}", ", ".join(texts[fixed:]))
    if "{" in text:
        text = _fill(text, texts)
    kind = result_type(signature, values)
    found = made(kind, text, *values) if values else Value(kind, text)
    if kind == "string" and any(
        value.type not in ("string", "dynamic") and not value.is_constant for value in values
    ):
        found.sql = f"ifNull({found.sql}, '')"
    return found


_HOLE = re.compile(r"\{(\d+)\}")


def _fill(template: str, texts: list[str]) -> str:
    return _HOLE.sub(lambda found: texts[int(found[1])], template)


def result_type(signature: Signature, values: list[Value]) -> str:
    if signature.returns == "same":
        return values[0].type
    if signature.returns == "wider":
        kind = values[0].type
        for value in values[1:]:
            if value.type in NUMERIC and kind in NUMERIC:
                kind = wider(kind, value.type)
        return kind
    return signature.returns


_KINDS = {
    "number": NUMERIC,
    "summable": (*NUMERIC, "timespan"),
    "comparable": (*NUMERIC, "timespan", "datetime", "bool", "string", "guid"),
}


def coerce(value: Value, wanted: str, call: Call, number: int) -> Value:
    """The argument as the parameter's type, if it may stand for it."""
    have = value.type
    if wanted in ("any", have):
        return value
    if wanted in _KINDS:
        if have in _KINDS[wanted]:
            return value
        if have == "dynamic":
            return convert(value, "real")
        if have == "bool":
            return convert(value, "long")
        if have in ("datetime", "timespan") and wanted == "number":
            return convert(value, "long")
    elif (
        have == "dynamic"
        or wanted == "dynamic"
        or value.is_null
        or (have in (*NUMERIC, "bool") and wanted in (*NUMERIC, "bool"))
    ):
        return convert(value, wanted, call.at)
    elif wanted == "string":
        return to_string(value)
    elif (have == "string" and value.is_constant and wanted in ("datetime", "timespan", "guid")) or (
        have == "timespan" and wanted in ("long", "real")
    ):
        return convert(value, wanted, call.at)
    raise KqlError(
        f"{call.name}(): argument #{number + 1} is a {have}, where a {wanted} is wanted.", call.at, "SEM0231"
    )


def text_constant(value: Value, call: Call, what: str) -> str:
    """A constant string argument."""
    if value.type != "string" or not isinstance(value.constant, str):
        raise KqlError(f"{call.name}(): {what} must be a constant string.", call.at, "SEM0240")
    return value.constant


def number_constant(value: Value, call: Call, what: str) -> int:
    """A constant whole number."""
    if not isinstance(value.constant, int) or isinstance(value.constant, bool):
        raise KqlError(f"{call.name}(): {what} must be a constant whole number.", call.at, "SEM0240")
    return value.constant


def quoted(text: str) -> str:
    return sql.quote(text)
