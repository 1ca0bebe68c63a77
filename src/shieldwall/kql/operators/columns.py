"""Operators that choose, compute and name columns: project and its like, extend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.relation import Column, Relation, Select
from shieldwall.kql.scope import Environment, matches, unknown
from shieldwall.kql.syntax import Expr, Name, Named, Operator, Ordered, Star
from shieldwall.kql.values import Value, member

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler


def column_of(value: Value, name: str) -> Column:
    """A column that holds a value; plain if it is just a column of the input."""
    plain = len(value.deps) == 1 and next(iter(value.deps)).name == value.name and value.is_column
    return Column(name, value.type, value.sql, value.deps, plain, value.indexed, value)


def named_values(binder: Binder, node: Expr) -> list[tuple[str, Value]]:
    """The names (empty where it has none) and values that one item of a list of columns gives."""
    if isinstance(node, Star):
        return [(value.name, value) for value in binder.row.columns() if matches(node.pattern, value.name)]
    if not isinstance(node, Named):
        value = binder.bind(node)
        return [(part.name, part) for part in value.parts or (value,)]
    value = binder.bind(node.value)
    if value.parts:
        names = [*node.names, *(part.name for part in value.parts[len(node.names) :])]
        return list(zip(names, value.parts, strict=False))
    if not node.several:
        return [(node.names[0], value)]
    if value.type != "dynamic":
        raise KqlError("Several names need a value with several parts.", node.at)
    return [(name, member(value, str(place + 1))) for place, name in enumerate(node.names)]


class Names:
    """Names that are free: ``Column1`` and so on for what has none; what is taken gets a number behind it.

    ``numbers`` are those of columns without a name, by their place in the query: they run through all of it.
    """

    def __init__(self, taken: set[str] | None = None, numbers: dict[int, int] | None = None) -> None:
        self.taken = taken if taken is not None else set()
        self._numbers = numbers if numbers is not None else {}

    def give(self, name: str, at: int = -1) -> str:
        if not name:
            name = self._numbered(at)
        elif name in self.taken:
            number = 1
            while f"{name}{number}" in self.taken:
                number += 1
            name = f"{name}{number}"
        self.taken.add(name)
        return name

    def _numbered(self, at: int) -> str:
        number = self._numbers.get(at) or max(self._numbers.values(), default=0) + 1
        while f"Column{number}" in self.taken:
            number += 1
        self._numbers[at] = number
        return f"Column{number}"


def listed(binder: Binder, nodes: list[Expr]) -> list[Column]:
    """The columns of a project or distinct."""
    found: list[Column] = []
    taken = {name for node in nodes if isinstance(node, Named) for name in node.names}
    names = Names(taken, binder.compiler.unnamed)
    given: set[str] = set()
    for node in nodes:
        for place, (name, value) in enumerate(named_values(binder, node)):
            if isinstance(node, Named) and place < len(node.names):
                if name in given:
                    raise KqlError(f"A column named '{name}' is there already.", node.at, "SEM0021")
                given.add(name)
            else:
                name = names.give(name, node.at)
            found.append(column_of(value, name))
    return found


@operator("project")
def project(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    select, columns = compiler.bind_into(relation, env, lambda binder: listed(binder, node.parts["items"]))
    kept = [column for column in select.columns if column.name.startswith("$ingestion")]
    select.columns = [*columns, *kept]
    return select


def extended(compiler: Compiler, relation: Relation, nodes: list[Expr], env: Environment) -> Select:
    """The relation with more columns, or others of the same name at the same place."""

    def work(binder: Binder) -> tuple[list[tuple[str, Value, int, bool]], bool]:
        found: list[tuple[str, Value, int, bool]] = []
        window = False
        for node in nodes:
            declared = len(node.names) if isinstance(node, Named) else 0
            for place, (name, value) in enumerate(named_values(binder, node)):
                found.append((name, value, node.at, place < declared))
                window = window or value.window
        return found, window

    select, (values, window) = compiler.bind_into(relation, env, work)
    names = Names({column.name for column in select.columns}, compiler.unnamed)
    columns = list(select.columns)
    for name, value, at, declared in values:
        if not declared:
            if value.refers and value.name:
                continue
            name = names.give(name, at)
        column = column_of(value, name)
        place = next((number for number, other in enumerate(columns) if other.name == name), None)
        if place is None:
            columns.append(column)
            names.taken.add(name)
        else:
            columns[place] = column
    select.columns = columns
    select.windows = select.windows or window
    return select


@operator("extend")
def extend(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    return extended(compiler, relation, node.parts["items"], env)


def _chosen(relation: Relation, node: Expr) -> list[Column]:
    """The columns that a pattern of project-away and its like names."""
    if isinstance(node, Ordered):
        node = node.value
    if isinstance(node, Star):
        return [column for column in relation.columns if matches(node.pattern, column.name)]
    if isinstance(node, Name):
        found = [column for column in relation.columns if column.name == node.name]
        if not found:
            raise unknown("column", node.name, [column.name for column in relation.columns], node.at)
        return found
    raise KqlError("A column's name is expected here.", node.at)


def keep_columns(relation: Relation, columns: list[Column]) -> Select:
    """Only these columns, in this order."""
    from shieldwall.kql.relation import over

    if isinstance(relation, Select) and relation.over is not None and not relation.distinct:
        relation.columns = columns
        return relation
    places = [relation.columns.index(column) for column in columns]
    select = over(relation)
    select.columns = [select.columns[place] for place in places]
    return select


@operator("project-away")
def project_away(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    gone: list[Column] = []
    for item in node.parts["items"]:
        gone += _chosen(relation, item)
    return keep_columns(relation, [column for column in relation.columns if column not in gone])


@operator("project-keep")
def project_keep(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    kept: list[Column] = []
    for item in node.parts["items"]:
        kept += _chosen(relation, item)
    return keep_columns(relation, [column for column in relation.columns if column in kept])


@operator("project-reorder")
def project_reorder(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    first: list[Column] = []
    for item in node.parts["items"]:
        found = [column for column in _chosen(relation, item) if column not in first]
        if isinstance(item, Ordered):
            found.sort(key=lambda column: column.name, reverse=item.descending)
        first += found
    return keep_columns(relation, first + [column for column in relation.columns if column not in first])


@operator("project-rename")
def project_rename(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    from shieldwall.kql.relation import over

    select = over(relation)
    for item in node.parts["items"]:
        if not isinstance(item, Named) or not isinstance(item.value, Name):
            raise KqlError("project-rename takes new = old.", item.at)
        old = item.value.name
        found = next((column for column in select.columns if column.name == old), None)
        if found is None:
            raise unknown("column", old, [column.name for column in select.columns], item.at)
        found.name = item.names[0]
    return select


@operator("project-by-names")
def project_by_names(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """Columns named by constant strings or arrays of them; those that are not there are left out."""
    import json

    kept: list[Column] = []
    for item in node.parts["items"]:
        value = Binder(compiler, env).bind(item)
        texts = json.loads(value.constant) if value.type == "dynamic" and value.constant else [value.constant]
        for text in texts:
            if not isinstance(text, str):
                raise KqlError("project-by-names takes constant names.", item.at)
            kept += [
                column for column in relation.columns if matches(text, column.name) and column not in kept
            ]
    return keep_columns(relation, kept)
