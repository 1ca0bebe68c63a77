"""From the syntax of conditions to what rows need for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from shieldwall.detection.streaming import patterns, texts
from shieldwall.detection.streaming.needs import (
    NEVER,
    NOTHING,
    Anchor,
    Need,
    all_of,
    any_of,
    negated,
)
from shieldwall.detection.streaming.texts import Form
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.relation import Column
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import (
    Binary,
    Call,
    Expr,
    In,
    Index,
    Member,
    Name,
    Named,
    Query,
)
from shieldwall.kql.syntax import (
    Literal as Constant,
)
from shieldwall.kql.values import UNKNOWN

if TYPE_CHECKING:
    from shieldwall.detection.streaming.compiling import RuleCompiler

_FORMS: dict[str, Form] = {
    "==": "equal",
    "=~": "equal",
    "startswith": "start",
    "startswith_cs": "start",
    "contains": "part",
    "contains_cs": "part",
    "has": "part",
    "has_cs": "part",
    "hasprefix": "part",
    "hasprefix_cs": "part",
    "hassuffix": "part",
    "hassuffix_cs": "part",
    "endswith": "end",
    "endswith_cs": "end",
}
_OPPOSITES = {"!=": "==", "!~": "=~", "notcontains": "contains"}
_ANY_CASE = frozenset(("=~", "in~", "contains", "startswith", "endswith"))
"""Operators that are true wherever the text is there in any case."""
_SAME_TEXT = frozenset(("tostring", "tolower"))
_PARTS_OF_TEXT = {"trim": 1, "trim_start": 1, "trim_end": 1, "substring": 0, "split": 0, "extract": 2}
"""Functions whose results, and the members of them, are parts of the argument at this place."""
_EMPTY = frozenset(("isempty", "isnotempty", "notempty"))
_PARSERS = frozenset(("parse_json", "todynamic", "toobject"))
MOST_EXACT = 10**15
"""Whole numbers from here on may be written as reals."""
MOST_ITEMS = 20_000
"""Items of one list that are looked for; a longer one is asked of every row."""


@dataclass(frozen=True)
class Frame:
    """The columns that names mean at one place of a query, and what its let statements gave names to."""

    columns: Mapping[str, Column]
    env: Environment


@dataclass(frozen=True)
class Source:
    """Where a text of an expression comes from: a stored column, or a member of the JSON in it."""

    column: str
    type: str
    json: bool = False
    key: str | None = None
    member: bool = False
    exact: bool = True
    """Whether it is all of that text."""
    made: bool = False
    """Whether a function made it, so that its members are not those of the column."""


class Conditions:
    """Reads conditions of one query; the compiler knows where columns come from."""

    def __init__(self, compiler: RuleCompiler) -> None:
        self._compiler = compiler

    def need(self, node: Expr, frame: Frame) -> Need:
        """What a row needs for ``node`` to be true of it."""
        if isinstance(node, Call) and node.name == "not" and len(node.args) == 1:
            return negated(self.sure(node.args[0], frame))
        if isinstance(node, Binary | In) and (opposite := _opposite(node.op)):
            return negated(self.sure(replace(node, op=opposite), frame))
        if isinstance(node, Call) and node.name in _EMPTY and len(node.args) == 1:
            empty = self._empty(node.args[0], frame)
            return (empty or NOTHING) if node.name == "isempty" else negated(empty or NEVER)
        if isinstance(node, Binary):
            if node.op in ("and", "or"):
                parts = [self.need(part, frame) for part in _chain(node)]
                return all_of(parts) if node.op == "and" else any_of(parts)
            return self._binary(node, frame)
        if isinstance(node, In):
            return self._in(node, frame)
        if isinstance(node, Name):
            made = self._origin(node, frame)
            return self.need(*made) if made is not None else NOTHING
        return NOTHING

    def sure(self, node: Expr, frame: Frame) -> Need:
        """What is fulfilled only where ``node`` is true."""
        if isinstance(node, Binary) and node.op in ("and", "or"):
            parts = [self.sure(part, frame) for part in _chain(node)]
            return all_of(parts) if node.op == "and" else any_of(parts)
        if isinstance(node, Call) and node.name == "isempty" and len(node.args) == 1:
            return self._empty(node.args[0], frame) or NEVER
        if isinstance(node, Binary) and node.op in _FORMS:
            form, of = _FORMS[node.op], node.left
            items: list[Any] | None = [self._constant(node.right, frame)]
        elif isinstance(node, In) and node.op in ("in", "in~"):
            form, of, items = "equal", node.of, self._items(node.items, frame)
        else:
            return NEVER
        source = self._source(of, frame)
        if source is None or items is None:
            return NEVER
        return any_of(_sure(source, item, form, any_case=node.op in _ANY_CASE) for item in items)

    def _empty(self, node: Expr, frame: Frame) -> Need | None:
        """That a text column is empty, if ``node`` is one."""
        source = self._source(node, frame)
        if source is None or source.json or source.type != "string" or not source.exact:
            return None
        return Anchor(source.column, "text", texts.marked("", "equal"))

    def _binary(self, node: Binary, frame: Frame) -> Need:
        if node.op == "matches regex":
            sources, text = self._sources(node.left, frame), self._constant(node.right, frame)
            if not isinstance(text, str) or any(item.type not in ("string", "dynamic") for item in sources):
                return NOTHING
            found = [patterns.required(text, partial(_need, item, form="part")) for item in sources]
            return any_of(found) if found else NOTHING
        form = _FORMS.get(node.op)
        if form is None:
            return NOTHING
        for of, other in ((node.left, node.right), (node.right, node.left)):
            if sources := self._sources(of, frame):
                value = self._constant(other, frame)
                return any_of(_need(source, value, form) for source in sources)
            if form != "equal":
                break
        return NOTHING

    def _in(self, node: In, frame: Frame) -> Need:
        if node.op not in ("in", "in~", "has_any", "has_all"):
            return NOTHING
        sources = self._sources(node.of, frame)
        items = self._items(node.items, frame) if sources else None
        if items is None:
            return NOTHING
        form: Form = "equal" if node.op in ("in", "in~") else "part"
        found = [any_of(_need(source, item, form) for source in sources) for item in items]
        return all_of(found) if node.op == "has_all" else any_of(found)

    def _items(self, nodes: list[Expr], frame: Frame) -> list[Any] | None:
        """The constants of a list; None if one of them is none."""
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, Query):
                return None
            value = self._constant(node.value if isinstance(node, Named) else node, frame, listed=True)
            if value is UNKNOWN or isinstance(value, dict):
                return None
            found += value if isinstance(value, list) else [value]
        return found if len(found) <= MOST_ITEMS else None

    def _constant(self, node: Expr, frame: Frame, *, listed: bool = False) -> Any:
        """The value of an expression without columns, a dynamic as what it holds; else UNKNOWN."""
        if isinstance(node, Constant):
            kind, held = node.type, node.value
        elif isinstance(node, Name) and node.name in frame.columns:
            return UNKNOWN
        else:
            try:
                value = Binder(self._compiler, frame.env).bind(node)
            except KqlError:
                return UNKNOWN
            kind, held = value.type, value.constant
        if kind == "dynamic" and isinstance(held, str):
            held = self._compiler.read_json(held)
            return held if listed else UNKNOWN
        return held if kind in ("string", "int", "long") else UNKNOWN

    def _origin(self, node: Name, frame: Frame) -> tuple[Expr, Frame] | None:
        """The expression that a column was made by, if a part of the query made it."""
        column = self._column(node, frame)
        return self._compiler.made.get(column) if column is not None else None

    def _column(self, node: Name, frame: Frame) -> Column | None:
        """The column that a name means, back to where it was made."""
        column = frame.columns.get(node.name)
        if column is None and frame.env.find(node.name) is None:
            column = frame.columns.get(self._compiler.renamed.get(node.name, ""))
        while column is not None and column not in self._compiler.made and column.plain and column.deps:
            (column,) = column.deps if len(column.deps) == 1 else (None,)
        return column

    def _sources(self, node: Expr, frame: Frame) -> list[Source]:
        """Where the text of an expression may come from; empty if that is not known."""
        if isinstance(node, Call) and node.name == "coalesce" and frame.env.find(node.name) is None:
            found = [self._sources(arg, frame) for arg in node.args]
            return [source for some in found for source in some] if all(found) else []
        source = self._source(node, frame)
        return [source] if source is not None else []

    def _source(self, node: Expr, frame: Frame) -> Source | None:
        """Where the text of an expression comes from; None if that is not known."""
        if isinstance(node, Name):
            column = self._column(node, frame)
            if column is None:
                return None
            if (made := self._compiler.made.get(column)) is not None:
                return self._source(*made)
            stored = self._compiler.stored.get(column)
            return None if stored is None else Source(*stored, json=stored[1] == "dynamic")
        if isinstance(node, Member):
            return _member(self._source(node.of, frame), node.name)
        if isinstance(node, Index):
            of = self._source(node.of, frame)
            if isinstance(node.of, Call) and node.of.name == "split":
                return of
            index = self._constant(node.index, frame)
            return _member(of, index) if isinstance(index, str | int) else None
        if isinstance(node, Call) and frame.env.find(node.name) is None:
            return self._call(node, frame)
        return None

    def _call(self, node: Call, frame: Frame) -> Source | None:
        place = _PARTS_OF_TEXT.get(node.name, 0)
        if place >= len(node.args):
            return None
        of = self._source(node.args[place], frame)
        if of is None or of.type not in ("string", "dynamic"):
            return None
        if node.name in _SAME_TEXT:
            return replace(of, made=True)
        if node.name in _PARTS_OF_TEXT:
            if node.name == "extract" and len(node.args) != 3:
                return None
            return replace(of, made=True, exact=False)
        if node.name in _PARSERS and not of.member and not of.made:
            return replace(of, json=True)
        return None


def _member(of: Source | None, key: str | int) -> Source | None:
    if of is None or of.made or of.type not in ("string", "dynamic"):
        return None
    return replace(of, json=True, member=True, key=key if isinstance(key, str) else None)


def _need(source: Source, value: Any, form: Form) -> Need:
    """What a row needs so that the text or number of ``source`` equals, begins with or has ``value``."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return NOTHING
    if source.type in ("int", "long"):
        whole = isinstance(value, int) and form == "equal" and not source.made
        return Anchor(source.column, "number", str(value)) if whole else NOTHING
    if source.type not in ("string", "dynamic"):
        return NOTHING
    if isinstance(value, int):
        if not source.json:
            return NOTHING
        # However it is written, its digits stand side by side.
        return _one_of(source.column, [str(abs(value))]) if abs(value) < MOST_EXACT else NOTHING
    form = form if source.exact else "part"
    if not source.json:
        if value and form != "part" and texts.is_plain(value):
            return Anchor(source.column, "text", texts.marked(value, form))
        found: list[Need] = [Anchor(source.column, "text", piece) for piece in texts.pieces(value)]
        if texts.is_foreign(value):
            found.append(Anchor(source.column, "text", texts.END + texts.FOREIGN))
        return all_of(found)
    if source.member and texts.is_plain(value) and (forms := texts.of_member(source.key, value, form)):
        return _one_of(source.column, forms)
    return all_of(_one_of(source.column, texts.within(piece)) for piece in texts.pieces(value))


def _sure(source: Source, value: Any, form: Form, *, any_case: bool) -> Need:
    """What is there only where the text or number of ``source`` equals, begins with or has ``value``."""
    if source.type in ("int", "long"):
        return _need(source, value, form) if isinstance(value, int) and form == "equal" else NEVER
    plain = isinstance(value, str) and texts.is_plain(value) and 0 < len(value) <= texts.LONGEST
    if not (plain and any_case and source.exact and source.type == "string" and not source.json):
        return NEVER
    return Anchor(source.column, "text", texts.marked(value, form))


def _one_of(column: str, found: Iterable[str]) -> Need:
    return any_of(Anchor(column, "json", text) for text in found)


def _opposite(op: str) -> str:
    """The operator of which this one is the opposite; empty if it is none."""
    return _OPPOSITES.get(op, op[1:] if op[0] == "!" else "")


def _chain(node: Binary) -> list[Expr]:
    """What a chain of the same operator joins: the tree may be thousands deep."""
    found: list[Expr] = []
    left: Expr = node
    while isinstance(left, Binary) and left.op == node.op:
        found.append(left.right)
        left = left.left
    return [left, *reversed(found)]
