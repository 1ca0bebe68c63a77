"""A continuous rule's query, compiled: the SQL of its condition, of its result, and what rows need for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from shieldwall.detection.streaming.conditions import Conditions, Frame
from shieldwall.detection.streaming.needs import NOTHING, Need, all_of, from_data, to_data
from shieldwall.kql.compiler import Compiler
from shieldwall.kql.errors import KqlError
from shieldwall.kql.parser import parse
from shieldwall.kql.plan import stored_plan
from shieldwall.kql.relation import Column, Condition, Relation, Select, Shared, Table, is_hidden
from shieldwall.kql.schema import Schema, TableSchema
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Call, Expr, Name, Named, Operator, Statement, walk
from shieldwall.telemetry.hunting import hunting_schema
from shieldwall.telemetry.schema import TABLES

ROWS = "`rows of a rule, 5d0b6c1e`"
"""Stands in a compiled result for the rows that it is computed over."""
BY_ROW = frozenset(
    (
        "where",
        "extend",
        "project",
        "project-away",
        "project-keep",
        "project-rename",
        "project-reorder",
        "parse",
        "parse-where",
        "parse-kv",
        "mv-expand",
        "mvexpand",
    )
)
"""Operators that look at one row at a time."""
_CLOCKS = frozenset(("now", "ago", "rand", "new_guid"))
"""Functions whose values depend on when a query is compiled or run."""


class NotContinuous(KqlError):
    """A query that cannot be answered from one stored row at a time; the message says why."""


@dataclass(frozen=True)
class CompiledRule:
    """``condition`` is SQL over a row ``q`` of ``table``. Where it is not all that the query asks, or where
    the result is not columns of the row, ``result`` tells."""

    query: str
    table: str
    need: Need
    condition: str
    columns: tuple[str, ...] | None
    """The columns of the row that are the result; None if ``result`` has to be run for it."""
    result: str
    """A SELECT of the whole query over `ROWS`, for the rows of one tenant."""
    timed: bool = False
    """Whether the SQL is of the moment at which it was compiled."""

    def over(self, rows: str) -> str:
        """The SELECT of the result over ``rows``, which may stand behind FROM."""
        return self.result.replace(ROWS, rows)

    def data(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**{name: getattr(self, name) for name in self.__slots_of()}, "need": to_data(self.need)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> CompiledRule:
        columns = data["columns"]
        return cls(
            **{
                **data,
                "need": from_data(data["need"]),
                "columns": None if columns is None else tuple(columns),
            }
        )

    @classmethod
    def __slots_of(cls) -> Sequence[str]:
        return tuple(cls.__dataclass_fields__)


def compile_rule(query: str) -> CompiledRule:
    """Compile a rule's query. NotContinuous when it needs more than a row; KqlError when it is wrong."""
    compiler = RuleCompiler(_schema())
    try:
        statements = parse(query, compiler.mentions)
        relation = compiler.statements(statements, Environment(), {})
        if relation is None:
            raise KqlError("The query has no tabular expression to answer with.", len(query))
        return compiler.compiled(query, relation, statements)
    except KqlError as error:
        raise (error if error.line else error.locate(query)) from None
    except RecursionError:
        raise KqlError("The query is nested too deeply.").locate(query) from None


class RuleCompiler(Compiler):
    """The compiler of hunts, which notes on the way what the query's conditions need."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.stored: dict[Column, tuple[str, str]] = {}
        """Name and type of the table's own columns."""
        self.made: dict[Column, tuple[Expr, Frame]] = {}
        """What columns of the query were made by."""
        self.needs: list[Need] = []
        self.tables: list[TableSchema] = []
        self._conditions = Conditions(self)

    def table(self, table: TableSchema) -> Relation:
        if self.tables:
            raise NotContinuous("A continuous rule reads one table, once; this one reads several.")
        if table.name not in TABLES or not TABLES[table.name].is_event:
            raise NotContinuous(f"{table.name} has no events for a continuous rule to look at.")
        self.tables.append(table)
        found = super().table(table)
        self.stored = {column: (column.name, column.type) for column in found.columns if not column.sql}
        return found

    def call_relation(self, node: Call, env: Environment, piped: Relation | None = None) -> Relation | None:
        if env.find(node.name) is None and node.name in self.schema.functions:
            raise NotContinuous(f"{node.name}() reads other data than the row.", node.at)
        return super().call_relation(node, env, piped)

    def operator(
        self, relation: Relation, operator: Operator, env: Environment, *, last: bool = True
    ) -> Relation:
        if operator.name not in BY_ROW:
            raise NotContinuous(
                f"'{operator.name}' cannot stand in a continuous rule, which looks at one row at a time.",
                operator.at,
            )
        frame = Frame({column.name: column for column in relation.columns}, env)
        found = super().operator(relation, operator, env, last=last)
        if operator.name == "where":
            self.needs.append(self._conditions.need(operator.parts["predicate"], frame))
        elif operator.name in ("extend", "project"):
            self._note(operator.parts["items"], found, frame)
        return found

    def _note(self, items: list[Expr], found: Relation, frame: Frame) -> None:
        """Remember what each item made."""
        columns = {column.name: column for column in found.columns}
        for item in items:
            name, node = "", item
            if isinstance(item, Named) and len(item.names) == 1 and not item.several:
                name, node = item.names[0], item.value
            elif isinstance(item, Name):
                name = item.name
            column = columns.get(name)
            if column is not None and column is not frame.columns.get(name):
                self.made[column] = (node, frame)

    @staticmethod
    def read_json(text: str) -> Any:
        return json.loads(text)

    def compiled(self, query: str, relation: Relation, statements: Sequence[Statement]) -> CompiledRule:
        if not self.tables:
            raise NotContinuous("A continuous rule reads a table; this one reads none.")
        if self.locals:
            raise NotContinuous(
                "A function of this rule is not computed in the database; give the rule a frequency instead."
            )
        levels = list(_levels(relation))
        table = self.tables[0].name
        if not isinstance(levels[-1], Table):
            raise NotContinuous(
                f"A continuous rule takes its rows from a table; this one reads {table} aside."
            )
        if any(isinstance(item, Select) and not _by_row(item) for item in levels):
            raise NotContinuous("A continuous rule looks at one row at a time; this one compares rows.")
        conditions, exact = self._flat(levels)
        columns = self._own_columns(relation) if exact else None
        plan = stored_plan(self, relation)
        timed = any(isinstance(node, Call) and node.name in _CLOCKS for node in walk(list(statements)))
        return CompiledRule(
            query=query,
            table=table,
            need=all_of(self.needs) if self.needs else NOTHING,
            condition=" AND ".join(conditions) or "true",
            columns=columns,
            result=plan.statement.text,
            timed=timed,
        )

    def _flat(self, levels: Sequence[Relation]) -> tuple[list[str], bool]:
        """The conditions over columns of the table, and whether these are all that is asked of a row."""
        found: list[str] = []
        exact = True
        for level in reversed(levels):
            if not isinstance(level, Select):
                exact = exact and isinstance(level, Table | Shared)
                continue
            exact = exact and not level.arrays
            for condition in level.where:
                if exact and self._is_flat(condition):
                    found.append(condition.sql)
                else:
                    exact = False
        return found, exact

    def _is_flat(self, condition: Condition) -> bool:
        return all(self._stored_as(column) == column.name for column in condition.deps)

    def _stored_as(self, column: Column) -> str:
        """The name of the table's column that this one is, unchanged; empty if it is none."""
        name = column.name
        while column not in self.stored:
            if not column.plain or len(column.deps) != 1 or column.name != name:
                return ""
            (column,) = column.deps
        return column.name

    def _own_columns(self, relation: Relation) -> tuple[str, ...] | None:
        names = [column.name for column in relation.columns if not is_hidden(column.name)]
        shown = [column for column in relation.columns if not is_hidden(column.name)]
        return tuple(names) if all(self._stored_as(column) == column.name for column in shown) else None


def _levels(relation: Relation) -> list[Relation]:
    """The relation and what it is made of, one below the other."""
    found = [relation]
    while len(inputs := found[-1].inputs()) == 1:
        found.append(inputs[0])
    return found


def _by_row(item: Select) -> bool:
    return not (item.grouped or item.limit is not None or item.limit_by or item.distinct or item.windows)


@cache
def _schema() -> Schema:
    """The hunting tables with the rows of a rule in their place."""
    schema = hunting_schema()
    # Rows that were just copied have no index: conditions on one would only be longer.
    tables = {
        name: replace(
            table, source=ROWS, columns=tuple(replace(column, indexed=False) for column in table.columns)
        )
        for name, table in schema.tables.items()
    }
    return replace(schema, tables=tables)
