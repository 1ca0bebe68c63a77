"""Operators that run over each part of the rows by itself, as those inside of mv-apply and partition do.

All parts are done at once. Hidden columns tell to which part a row belongs (`PART`) and what goes along with
it (`ALONG`); operators that group, choose or count rows do so by part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.operators.rows import row_count, sort_keys
from shieldwall.kql.relation import PART, Column, Relation, Select, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Call, Expr, Name, Named, Operator, walk

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

ALONG = "$along"
"""What the names of columns begin with that go along with a part."""

BY_ROW = frozenset((
    "where", "filter", "extend", "project", "project-away", "project-keep", "project-rename",
    "project-reorder", "parse", "parse-where", "parse-kv", "mv-expand", "mvexpand", "mv-apply", "mvapply",
))  # fmt: skip
"""Operators that treat each row by itself, so that parts need not be told apart for them."""
_NEIGHBOURS = frozenset((
    "row_number", "row_cumsum", "row_rank", "row_rank_dense", "row_rank_min", "row_window_session", "prev",
    "next",
))  # fmt: skip
"""Functions that see other rows of the part."""
DROPPING = frozenset(
    ("where", "filter", "parse-where", "mv-expand", "mvexpand", "mv-apply", "mvapply", "join", "lookup")
)
"""Operators that may leave no row of a part."""
_PLAIN = BY_ROW | {"sort", "order", "as", "serialize", "join", "lookup"}


def by_row(body: list[Operator]) -> bool:
    """Whether operators treat each row by itself."""
    if not all(step.name in BY_ROW for step in body):
        return False
    return not any(isinstance(item, Call) and item.name in _NEIGHBOURS for item in walk(body))


def places_of_defaults(body: list[Operator]) -> set[int]:
    """Where operators stand that give a row of no rows, behind others that may leave none of a part."""
    found: set[int] = set()
    dropping = False
    for place, node in enumerate(body):
        dropping = dropping or node.name in DROPPING
        if dropping and (node.name == "count" or (node.name == "summarize" and not node.parts["by"])):
            found.add(place)
    return found


def is_kept(name: str) -> bool:
    """Whether a column is one of the hidden ones that stay with the rows of a part."""
    return name.startswith((PART, ALONG))


def run(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """The rows that an operator gives of each part, with the hidden columns of ``relation``."""
    if node.name in ("take", "limit", "sample", "top"):
        return _limited(compiler, relation, node, env)
    parts = [column.name for column in relation.columns if column.name.startswith(PART)]
    along = [column.name for column in relation.columns if column.name.startswith(ALONG)]
    if rewrite := _REWRITTEN.get(node.name):
        node = rewrite(node, parts, along)
    elif node.name not in _PLAIN:
        raise KqlError(f"The operator '{node.name}' cannot stand here.", node.at)
    return compiler.operator(relation, node, env)


def _names(node: Operator, names: list[str]) -> list[Expr]:
    return [Name(node.at, name) for name in names]


def _items(node: Operator, parts: list[str], along: list[str]) -> Operator:
    return Operator(node.at, node.name, {"items": [*node.parts["items"], *_names(node, parts + along)]})


def _summarize(node: Operator, parts: list[str], along: list[str]) -> Operator:
    if node.name == "count":
        aggregates: list[Expr] = [Named(node.at, ["Count"], Call(node.at, "count", []))]
        by: list[Expr] = []
    else:
        aggregates, by = node.parts["aggregates"], node.parts["by"]
    kept = [Named(node.at, [name], Call(node.at, "take_any", [Name(node.at, name)])) for name in along]
    return Operator(
        node.at, "summarize", {"aggregates": [*aggregates, *kept], "by": [*by, *_names(node, parts)]}
    )


def _scan(node: Operator, parts: list[str], along: list[str]) -> Operator:
    by = [*node.parts["partition"], *_names(node, parts)]
    return Operator(node.at, node.name, {**node.parts, "partition": by})


_REWRITTEN: dict[str, Callable[[Operator, list[str], list[str]], Operator]] = {
    "project": _items,
    "project-keep": _items,
    "distinct": _items,
    "summarize": _summarize,
    "count": _summarize,
    "scan": _scan,
}


def _limited(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """The first rows of each part."""
    count = row_count(compiler, node.parts["count"], env)
    select = over(sort_keys(compiler, relation, node.parts["by"], env) if node.name == "top" else relation)
    by = [column for column in select.columns if column.name.startswith(PART)]
    select.limit_by = (count, by)
    return select


def part_column(text: str, relation: Relation, kind: str = "long") -> Column:
    """A column that numbers parts, of a name that is free."""
    number = sum(column.name.startswith(PART) for column in relation.columns)
    return Column(f"{PART}{number}", kind, text)


def along_columns(select: Select) -> list[Column]:
    """Copies of all columns as ones that go along with a part."""
    level = sum(column.name.startswith(ALONG) for column in select.columns)
    return [
        Column(f"{ALONG}{level}_{place}", column.type, column.sql, column.deps)
        for place, column in enumerate(select.columns)
    ]
