"""From a query to a plan: statements and tabular expressions. Operators are in `operators`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from shieldwall.kql import sql
from shieldwall.kql.engine import Engine
from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame
from shieldwall.kql.graphs.graph import Graph
from shieldwall.kql.local import LocalCalls, fixed_rows, map_rows, with_windows
from shieldwall.kql.operators import OPERATORS, SOURCES
from shieldwall.kql.parser import parse
from shieldwall.kql.plan import Plan, inner_plan, planned
from shieldwall.kql.relation import Column, Local, Relation, Select, Shared, Table, over, passed
from shieldwall.kql.schema import NO_TABLES, Schema, TableSchema
from shieldwall.kql.scope import NO_ROW, Binding, Environment, InnerRow, Row, unknown
from shieldwall.kql.syntax import (
    Call,
    Expr,
    Function,
    Let,
    Literal,
    Member,
    Name,
    Named,
    Operator,
    Parameter,
    Pipeline,
    Query,
    QueryParameters,
    SetOption,
    Star,
    Statement,
)
from shieldwall.kql.types import TYPE_NAMES
from shieldwall.kql.values import Value, convert

T = TypeVar("T")
MAX_CALLS = 64
"""How deep the query's own functions may call each other."""
MOST_BOUND = 1_000_000
"""Expressions and tables that are looked at: functions that call functions twice multiply them."""
MOST_WRITTEN = 64 << 20
"""Characters of SQL of all expressions together: an argument that a function names twice is there twice."""
PIPELINE = 20
"""What a table costs, as so many expressions."""
INGESTION_TIME = "$ingestion_time"
TABULAR = ("materialize", "table", "view", "totable", "graph")
"""Functions that give tables whatever the schema has."""
FOREIGN = ("database", "cluster", "workspace", "app", "resource", "adx", "arg")
"""What stands for data elsewhere."""


class Compiler:
    """Compiles one query. With an ``engine``, parts whose columns depend on rows are run meanwhile."""

    def __init__(self, schema: Schema = NO_TABLES, engine: Engine | None = None) -> None:
        self.schema = schema
        self.engine = engine
        self.chart: dict[str, Any] | None = None
        self.shared: list[Shared] = []
        self.locals: list[Local] = []
        self.unnamed: dict[int, int] = {}
        """The numbers of columns without a name, by their place in the text."""
        self.mentions: Counter[str] = Counter()
        self.options: dict[str, Binding] = {}
        """What ``set`` statements say."""
        self.renamed: dict[str, str] = {}
        """Older names of columns of the tables that were read."""
        self.open = False
        """Whether rows would tell the names of columns, and there are none: any name may be one."""
        self.now = time.time_ns() // 100
        """The moment that now() gives all over the query, in ticks since 1970."""
        self._calls = 0
        self._serial = 0
        self._bound = 0
        self._written = 0

    def spend(self, bound: int, written: int, at: int) -> None:
        """Count what compiling has made so far. KqlError where a short text has become too much of it."""
        self._bound += bound
        self._written += written
        if self._bound > MOST_BOUND or self._written > MOST_WRITTEN:
            raise KqlError("The query is too complex.", at, "E_QUERY_RESULT_SET_TOO_LARGE")

    def serial(self) -> int:
        """Another number each time."""
        self._serial += 1
        return self._serial

    def compile(self, text: str, parameters: dict[str, Any] | None = None) -> Plan:
        """The plan of a query. KqlError, located in the text, when it is wrong."""
        try:
            statements = parse(text, self.mentions)
            relation = self.statements(statements, Environment(), parameters or {})
            if relation is None:
                raise KqlError("The query has no tabular expression to answer with.", len(text))
            # A graph is shown by its edges.
            return planned(self, relation.edges if isinstance(relation, Graph) else relation)
        except KqlError as error:
            raise (error if error.line else error.locate(text)) from None
        except RecursionError:
            raise KqlError("The query is nested too deeply.").locate(text) from None

    # Statements

    def statements(
        self, statements: Sequence[Statement], env: Environment, parameters: dict[str, Any]
    ) -> Relation | None:
        """The relation of the first tabular expression; the others are checked."""
        found: Relation | None = None
        for statement in statements:
            if isinstance(statement, Let):
                env = Environment(env, {statement.name: Binding(statement.value, env)})
            elif isinstance(statement, QueryParameters):
                env = self._query_parameters(statement, env, parameters)
            elif isinstance(statement, Pipeline):
                relation = self.pipeline(statement, env)
                found = found or relation
            elif isinstance(statement, SetOption) and statement.value is not None:
                self.options[statement.name] = Binding(statement.value, env)
        return found

    def _query_parameters(
        self, node: QueryParameters, env: Environment, given: dict[str, Any]
    ) -> Environment:
        names: dict[str, Binding | Value | Relation] = {}
        for parameter in node.parameters:
            kind = type_named(parameter.type, parameter.at)
            if parameter.name in given:
                value = Binder(self, env).bind(Literal(node.at, "string", str(given[parameter.name])))
            elif parameter.default is not None:
                value = Binder(self, env).bind(parameter.default)
            else:
                raise KqlError(f"The query parameter '{parameter.name}' has no value.", parameter.at)
            names[parameter.name] = convert(value, kind, parameter.at)
        return Environment(env, names)

    # Tabular expressions

    def pipeline(self, node: Pipeline, env: Environment) -> Relation:
        self.spend(PIPELINE, 0, node.at)
        relation = self.source(node.source, env)
        for number, operator in enumerate(node.operators):
            if operator.name == "as":
                relation = self.share(relation, operator.parts["name"])
                env = Environment(env, {operator.parts["name"]: relation})
                continue
            relation = self.operator(relation, operator, env, last=number + 1 == len(node.operators))
        return relation

    def operator(
        self, relation: Relation, operator: Operator, env: Environment, *, last: bool = True
    ) -> Relation:
        work = OPERATORS.get(operator.name)
        if work is None:
            raise KqlError(f"The operator '{operator.name}' cannot stand here.", operator.at)
        if isinstance(relation, Graph) and not operator.name.startswith("graph-"):
            raise relation.refused(operator.at)
        return work(self, relation, operator, env)

    def source(self, node: Expr | Operator | Pipeline, env: Environment) -> Relation:
        """The relation that a tabular expression begins with."""
        if isinstance(node, Operator):
            start = SOURCES.get(node.name)
            if start is None:
                raise KqlError(f"A query cannot begin with '{node.name}'.", node.at)
            return start(self, node, env)
        if isinstance(node, Pipeline):
            return self.pipeline(node, env)
        if isinstance(node, Query):
            return self.pipeline(node.pipeline, env)
        if isinstance(node, Name):
            if (found := self.named_relation(node, env)) is not None:
                return found
            known = [*self.schema.tables, *env.visible()]
            raise unknown("table", node.name, known, node.at)
        if isinstance(node, Star):
            return SOURCES["union"](
                self, Operator(node.at, "union", {"tables": [Pipeline(node.at, node, [])]}), env
            )
        if isinstance(node, Call):
            if (found := self.call_relation(node, env)) is not None:
                return found
            if node.name in FOREIGN:
                raise KqlError("Other databases, clusters and workspaces cannot be read.", node.at, "SEM0100")
            raise unknown("table function", node.name, [*self.schema.functions, *env.visible()], node.at)
        while isinstance(node, Member):
            node = node.of
        if isinstance(node, Call) and node.name in FOREIGN:
            raise KqlError("Other databases, clusters and workspaces cannot be read.", node.at, "SEM0100")
        raise KqlError("A table or a tabular expression is expected here.", node.at)

    def named_relation(self, node: Name, env: Environment) -> Relation | None:
        """The relation of a name, if it is that of one."""
        found = env.find(node.name)
        if isinstance(found, Relation):
            return found
        if isinstance(found, Binding):
            if isinstance(found.node, Function):
                if found.node.parameters:
                    return None
                return self.call_relation(Call(node.at, node.name, []), env)
            if not self.is_tabular(found.node, found.env):
                return None
            return self._bound_relation(node.name, found, node.at)
        if found is None and (table := self.schema.table(node.name)) is not None:
            return self.table(table)
        if found is None and (view := self.schema.views.get(node.name)) is not None:
            return self._inside(
                Call(node.at, node.name, []), lambda: self.statements(parse(view), Environment(), {})
            )
        return None

    def _bound_relation(self, name: str, found: Binding, at: int) -> Relation:
        if found.shared is not None:
            return found.shared
        if found.busy:
            raise KqlError(f"'{name}' is defined by itself.", at)
        found.busy = True
        try:
            relation = self.source(found.node, found.env)  # type: ignore[arg-type]
        finally:
            found.busy = False
        check_columns(name, relation, found.columns, at)
        if isinstance(relation, Shared | Graph):
            found.shared = relation
        elif self.mentions[name] > 2 and not is_cheap(relation):
            found.shared = relation = self.share(relation)
        return relation

    def table(self, table: TableSchema) -> Relation:
        columns = [
            Column(column.name, column.type, indexed=column.indexed, plain=True) for column in table.columns
        ]
        if table.ingestion_time and self.mentions["ingestion_time"]:
            # Whatever its precision is in the store.
            stored = f"toDateTime64({sql.name(table.ingestion_time)}, 7, 'UTC')"
            columns.append(Column(INGESTION_TIME, "datetime", stored))
        self.renamed.update(table.renamed)
        return Table(columns, table.source)

    def share(self, relation: Relation, name: str = "") -> Shared:
        """The relation as one that is evaluated once."""
        if isinstance(relation, Shared):
            return relation
        found = Shared(
            [passed(column) for column in relation.columns], f"shared_{len(self.shared) + 1}", relation
        )
        self.shared.append(found)
        return found

    def is_tabular(self, node: Any, env: Environment) -> bool:
        """Whether an expression gives a table."""
        if isinstance(node, Query):
            return True
        if isinstance(node, Pipeline):
            if node.operators or isinstance(node.source, Operator | Star):
                return True
            return self.is_tabular(node.source, env)
        if isinstance(node, Name):
            found = env.find(node.name)
            if isinstance(found, Binding):
                return self.is_tabular(found.node, found.env)
            known = self.schema.table(node.name) is not None or node.name in self.schema.views
            return isinstance(found, Relation) or (found is None and known)
        if isinstance(node, Function):
            return self._gives_table(node, env)
        if isinstance(node, Call):
            if isinstance(found := env.find(node.name), Binding) and isinstance(found.node, Function):
                return self._gives_table(found.node, found.env)
            return node.name in TABULAR or node.name in self.schema.functions
        return False

    def _gives_table(self, node: Function, env: Environment) -> bool:
        names: dict[str, Binding | Value | Relation] = {}
        for parameter in node.parameters:
            names[parameter.name] = (
                Select([], None)
                if parameter.type == "table"
                else Value(TYPE_NAMES.get(parameter.type, "dynamic"), "")
            )
        env = Environment(env, names)
        for statement in node.body:
            if isinstance(statement, Let):
                env = Environment(env, {statement.name: Binding(statement.value, env)})
        return bool(node.body) and isinstance(node.body[-1], Pipeline) and self.is_tabular(node.body[-1], env)

    # Functions

    def call_relation(self, node: Call, env: Environment, piped: Relation | None = None) -> Relation | None:
        """The relation that a call gives, if it gives one; ``piped`` is what is put into it by ``invoke``."""
        found = env.find(node.name)
        if isinstance(found, Binding) and isinstance(found.node, Function):
            if not self._gives_table(found.node, found.env):
                return None
            return self._inside(node, lambda: self._call_function(found, node, env, piped))
        if node.name == "totable" and node.args:
            return self.source(node.args[0], env)
        if node.name == "materialize" and node.args:
            relation = self.source(node.args[0], env)
            # What differs each time it is evaluated must be the same in all statements of the plan.
            return self.share(
                fixed_rows(self, relation) if self.mentions["new_guid"] + self.mentions["rand"] else relation
            )
        if node.name == "graph":
            raise KqlError("There are no stored graphs; make-graph makes one of tables.", node.at, "SEM0100")
        if node.name in ("table", "view") and node.args:
            value = Binder(self, env).bind(node.args[0])
            name = value.constant if isinstance(value.constant, str) else ""
            return self.source(Name(node.at, name), env)
        if (function := self.schema.functions.get(node.name)) is not None:
            return function(self, piped, node, env)
        return None

    def _call_function(
        self, found: Binding, node: Call, env: Environment, piped: Relation | None
    ) -> Relation:
        function = found.node
        assert isinstance(function, Function)
        inner = Environment(found.env, self._arguments(function, node, Binder(self, env), piped))
        relation = self.statements(function.body, inner, {})
        if relation is None:
            raise KqlError(f"{node.name}() gives no table.", node.at)
        return relation

    def call_scalar(self, found: Binding, node: Call, binder: Binder) -> Value:
        """The value of a call of one of the query's own functions."""
        function = found.node
        assert isinstance(function, Function)

        def work() -> Value:
            env = Environment(found.env, self._arguments(function, node, binder, None))
            value: Value | None = None
            for statement in function.body:
                if isinstance(statement, Let):
                    env = Environment(env, {statement.name: Binding(statement.value, env)})
                elif (
                    isinstance(statement, Pipeline)
                    and not statement.operators
                    and not isinstance(statement.source, Operator)
                ):
                    inner = Binder(self, env, NO_ROW, local=binder.local)
                    value = inner.bind(statement.source)  # type: ignore[arg-type]
            if value is None:
                raise KqlError(f"{node.name}() gives a table, where a value is expected.", node.at)
            value.name = ""
            return value

        return self._inside(node, work)

    def _inside(self, node: Call, work: Callable[[], T]) -> T:
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise KqlError(f"{node.name}() calls itself, or calls are nested too deeply.", node.at)
        try:
            return work()
        finally:
            self._calls -= 1

    def _arguments(
        self, function: Function, node: Call, binder: Binder, piped: Relation | None
    ) -> dict[str, Binding | Value | Relation]:
        given: dict[str, Expr] = {}
        parameters = list(function.parameters)
        names: dict[str, Binding | Value | Relation] = {}
        if piped is not None:
            if not parameters or parameters[0].type != "table":
                raise KqlError(f"{node.name}() takes no table.", node.at)
            check_columns(parameters[0].name, piped, parameters[0].columns, node.at)
            names[parameters[0].name] = self.share(piped) if self.mentions[parameters[0].name] > 2 else piped
            parameters = parameters[1:]
        named = {arg.names[0]: arg.value for arg in node.args if isinstance(arg, Named)}
        free = [parameter.name for parameter in parameters if parameter.name not in named]
        for arg in node.args:
            if isinstance(arg, Named) and any(parameter.name == arg.names[0] for parameter in parameters):
                given[arg.names[0]] = arg.value
            elif free:
                given[free.pop(0)] = arg
            else:
                raise KqlError(
                    f"{node.name}() takes {len(parameters)} arguments, not {len(node.args)}.",
                    arg.at,
                    "SEM0219",
                )
        for parameter in parameters:
            names[parameter.name] = self._argument(parameter, given.get(parameter.name), node, binder)
        return names

    def _argument(
        self, parameter: Parameter, given: Expr | None, node: Call, binder: Binder
    ) -> Binding | Value | Relation:
        if given is None and parameter.default is None:
            raise KqlError(f"{node.name}(): the argument '{parameter.name}' is missing.", node.at, "SEM0219")
        if parameter.type == "table":
            assert given is not None
            return Binding(given, binder.env, columns=parameter.columns)
        value = binder.bind(given) if given is not None else Binder(self, binder.env).bind(parameter.default)  # type: ignore[arg-type]
        return convert(value, type_named(parameter.type, parameter.at), node.at)

    # Values of let statements

    def scalar(self, found: Binding, node: Name, binder: Binder) -> Value | None:
        """The value that a let statement gave a name to; None if it is a table or a function."""
        if found.value is not None:
            return found.value
        if isinstance(found.node, Function):
            if found.node.parameters:
                return None
            return self.call_scalar(found, Call(node.at, node.name, []), binder)
        if self.is_tabular(found.node, found.env) or isinstance(found.node, Pipeline):
            return None
        if found.busy:
            raise KqlError(f"'{node.name}' is defined by itself.", node.at)
        found.busy = True
        calls = binder.local.number
        try:
            value = Binder(self, found.env, local=binder.local).bind(found.node)
        finally:
            found.busy = False
        value.name = ""
        if binder.local.number == calls:
            # A call that only Python computes is a column of the operator it stands in, and of no other.
            found.value = value
        return value

    def subquery(self, relation: Relation, shown: Callable[[str], str], *, ordered: bool = False) -> str:
        """SQL in parentheses of what ``shown`` makes of the first column of a relation."""
        inner = over(relation)
        if not ordered:
            inner.order = []
        column = inner.columns[0]
        column.sql = shown(column.sql)
        inner.columns = [column]
        inner.require([column])
        return f"(\n{inner.text(1)}\n)"

    # Binding over relations

    def bind_into(
        self,
        relation: Relation,
        env: Environment,
        work: Callable[[Binder], T],
        *,
        aggregates: bool = False,
        inline: bool = False,
    ) -> tuple[Select, T]:
        """Bind expressions that go into a SELECT over ``relation``: into itself where it is one, and open.

        With ``inline``, also where they name columns that it computes. ``work`` may run several times.
        """
        local = LocalCalls()
        if isinstance(relation, Select) and relation.open:
            inner = InnerRow(relation)
            found = work(Binder(self, env, inner, aggregates=aggregates, local=local))
            if not local.pending and not local.windows and (inline or not inner.computed):
                return with_inferred(relation, local), found
        for _ in range(MAX_CALLS):
            select = over(relation)
            row = Row(relation.columns, order=select.order)
            local.begin(row.column)
            found = work(Binder(self, env, row, aggregates=aggregates, local=local))
            if local.windows:
                relation = with_windows(select, local)
            elif local.pending:
                relation = map_rows(self, select, local)
            else:
                select.columns = [column for column in select.columns if not column.name.startswith("$local")]
                return with_inferred(select, local), found
        raise KqlError("Calls are nested too deeply.")

    def fetch(self, relation: Relation) -> Frame | None:
        """The rows of a relation now, if there is an engine: for operators whose columns depend on rows."""
        return inner_plan(self, relation).frame(self.engine) if self.engine is not None else None


def check_columns(name: str, relation: Relation, wanted: Sequence[tuple[str, str]] | None, at: int) -> None:
    """KqlError where a tabular argument lacks a column that its function declares."""
    have = {column.name for column in relation.columns}
    for column, _ in wanted or ():
        if column not in have:
            raise KqlError(f"The table for '{name}' has no column '{column}'.", at, "SEM0219")


def with_inferred(select: Select, local: LocalCalls) -> Select:
    """The SELECT with columns that were named, but of which no row tells: all null."""
    for name in local.inferred:
        if all(column.name != name for column in select.columns):
            select.columns.append(Column(name, "dynamic", "''"))
    return select


def type_named(name: str, at: int) -> str:
    kind = TYPE_NAMES.get(name)
    if kind is None:
        raise KqlError(f"'{name}' is not a type.", at)
    return kind


def is_cheap(relation: Relation) -> bool:
    """Whether reading it twice costs little: rows of a table, filtered."""
    while isinstance(relation, Select) and relation.open and relation.over is not None and not relation.order:
        relation = relation.over
    if isinstance(relation, Select):
        return relation.over is None
    return not isinstance(relation, Local)
