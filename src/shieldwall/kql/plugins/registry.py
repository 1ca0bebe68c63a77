"""Where plugins put themselves, and what they get: the input, and their arguments by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import to_python
from shieldwall.kql.relation import Column, Relation
from shieldwall.kql.scope import Environment, Row, unknown
from shieldwall.kql.syntax import Call, Expr, Name, Named, Star
from shieldwall.kql.types import TYPE_NAMES
from shieldwall.kql.values import UNKNOWN, Value

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

DEFAULT = "~"
"""The text that stands for the default of an argument."""


@dataclass(slots=True)
class Use:
    """One use of a plugin. ``args`` are those given, by the names of its parameters."""

    compiler: Compiler
    relation: Relation
    call: Call
    env: Environment
    args: dict[str, Expr]
    rest: list[Expr]
    """What the repeated parameter takes, if the plugin has one."""
    schema: list[tuple[str, str]] | None
    """Name and type of the columns that the query declares, the first maybe ``*``; None if there are none."""

    def error(self, message: str, at: int = -1) -> KqlError:
        return KqlError(f"{self.call.name}: {message}", self.call.at if at < 0 else at, "SEM0100")

    def bind(self, node: Expr, row: Row | None = None) -> Value:
        """An expression over the rows of the input."""
        return Binder(self.compiler, self.env, row or Row(self.relation.columns)).bind(node)

    def column(self, name: str) -> Column:
        """The column of the input that an argument names."""
        return self.named_column(self.args[name])

    def named_column(self, node: Expr) -> Column:
        if not isinstance(node, Name):
            raise self.error("the name of a column is expected here.", node.at)
        for column in self.relation.columns:
            if column.name == node.name:
                return column
        raise unknown("column", node.name, [column.name for column in self.relation.columns], node.at)

    def dimensions(self) -> list[Column]:
        """The columns that the repeated parameter names."""
        return [self.named_column(node) for node in self.rest]

    def given(self, name: str) -> bool:
        """Whether an argument is there, and is not the sign for its default."""
        if name not in self.args:
            return False
        node = self.args[name]
        return getattr(node, "value", None) != DEFAULT

    def constant(self, name: str, default: Any = None, kinds: Sequence[str] = ()) -> Any:
        """The value of a constant argument, as a Frame holds it."""
        if not self.given(name):
            return default
        return self.typed(name, kinds)[1]

    def typed(self, name: str, kinds: Sequence[str] = ()) -> tuple[str, Any]:
        """Type and value of a constant argument."""
        node = self.args[name]
        value = self.bind(node, Row())
        if value.constant is UNKNOWN:
            value = self._evaluated(value, name, node)
        if kinds and value.type not in kinds:
            raise self.error(f"{name} is a {value.type}, where a {' or '.join(kinds)} is wanted.", node.at)
        return value.type, to_python(value.type, value.constant)

    def _evaluated(self, value: Value, name: str, node: Expr) -> Value:
        """What an expression without columns gives, such as startofday(now())."""
        from shieldwall.kql.frame import to_constant
        from shieldwall.kql.relation import Select
        from shieldwall.kql.values import constant

        if value.deps:
            raise self.error(f"{name} must be constant.", node.at)
        row = Select([Column("value", value.type, value.sql)], None)
        frame = self.compiler.fetch(row)
        found = frame.rows[0][0] if frame is not None and frame.rows else None
        return constant(value.type, to_constant(value.type, found))

    def declared(self) -> list[tuple[str, str]] | None:
        """The declared columns with Kusto's names of their types; None if there are none."""
        if self.schema is None:
            return None
        found: list[tuple[str, str]] = []
        for name, kind in self.schema:
            if name == "*" and not kind:
                found.append((name, ""))
            elif kind not in TYPE_NAMES:
                raise self.error(f"'{kind}' is not a type.")
            else:
                found.append((name, TYPE_NAMES[kind]))
        return found


Plugin = Callable[[Use], Relation]


@dataclass(frozen=True, slots=True)
class Declared:
    work: Plugin
    params: tuple[str, ...]
    least: int
    repeated: bool
    sourceless: bool


PLUGINS: dict[str, Declared] = {}
_SIGNATURE = re.compile(r"(\w+)\((.*)\)")


def plugin(signature: str, *, sourceless: bool = False) -> Callable[[Plugin], Plugin]:
    """Declare a plugin by ``name(first, second?, others...)``; it may be ``sourceless``, without input."""
    found = _SIGNATURE.fullmatch(signature)
    assert found
    names = [part.strip() for part in found[2].split(",") if part.strip()]
    repeated = bool(names) and names[-1].endswith("...")
    if repeated:
        names.pop()
    least = sum(1 for name in names if not name.endswith("?"))

    def take(work: Plugin) -> Plugin:
        params = tuple(name.removesuffix("?") for name in names)
        PLUGINS[found[1]] = Declared(work, params, least, repeated, sourceless)
        return work

    return take


def arguments(call: Call, declared: Declared) -> tuple[dict[str, Expr], list[Expr]]:
    """The arguments by the names of the parameters, and the rest."""
    args: dict[str, Expr] = {}
    rest: list[Expr] = []
    place = 0
    for arg in call.args:
        if isinstance(arg, Named) and not arg.several and arg.names[0] in declared.params:
            args[arg.names[0]] = arg.value
            continue
        if isinstance(arg, Star):
            raise KqlError(f"{call.name}: '*' cannot stand here.", arg.at)
        if place < len(declared.params):
            args.setdefault(declared.params[place], arg)
            place += 1
        elif declared.repeated:
            rest.append(arg)
        else:
            raise KqlError(f"{call.name}: there are too many arguments.", arg.at, "SEM0219")
    missing = [name for name in declared.params[: declared.least] if name not in args]
    if missing:
        raise KqlError(f"{call.name}: the argument {missing[0]} is missing.", call.at, "SEM0219")
    return args, rest
