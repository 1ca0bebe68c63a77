"""A compiled query: statements to run in order, with Python's work between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.engine import Engine, Statement
from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import Frame, from_json, read, read_expression, write, written
from shieldwall.kql.local import HIDDEN
from shieldwall.kql.relation import Column, Local, Relation, Select, is_hidden, over
from shieldwall.kql.values import Value, wire_text

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler
    from shieldwall.kql.local import LocalWork

STEP_ROWS = 1_000_000
"""Rows that one input of Python's work may have."""
STEP_BYTES = 1 << 29
"""What they may take in memory, roughly, by what a value and a list or bag take at least."""
CELL, LIST = 32, 64
MOST_EXPANDED = 16 << 20
"""Characters of a statement whose tables are all written out at each of their places."""


@dataclass(slots=True)
class Step:
    """Python's work on the rows of statements; later statements read what it gives as the table ``name``."""

    name: str
    inputs: list[tuple[Statement, list[tuple[str, str]]]]
    """The statement of each input, with its columns."""
    columns: list[tuple[str, str]]
    work: LocalWork

    def run(self, engine: Engine, data: dict[str, str]) -> None:
        frames = [
            read(columns, _bounded(columns, engine.rows(statement, data)))
            for statement, columns in self.inputs
        ]
        rows = self.work(frames, [name for name, _ in self.columns])
        data[self.name] = write(self.columns, rows)


@dataclass(slots=True)
class Plan:
    """``columns`` are the result's names and Kusto types; ``statement`` gives rows as the wire shows them."""

    columns: list[tuple[str, str]]
    statement: Statement
    steps: list[Step] = field(default_factory=list)
    chart: dict[str, Any] | None = None
    """What ``render`` asks for, if it is there: kind and properties."""

    def run(self, engine: Engine) -> Iterator[list[Any]]:
        """Rows of the result: JSON values, a dynamic as JSON text (None for null)."""
        data: dict[str, str] = {}
        for step in self.steps:
            step.run(engine, data)
        rows = engine.rows(self.statement, data)
        reals = [place for place, (_, kind) in enumerate(self.columns) if kind == "real"]
        return _with_names_of_reals(rows, reals) if reals else rows

    def frame(self, engine: Engine) -> Frame:
        """The result with values as Python works on them; for plans made by `inner_plan`."""
        return read(self.columns, self.run(engine))

    def explain(self) -> str:
        """All statements, with what happens between them."""
        parts: list[str] = []
        for step in self.steps:
            parts += [statement.text for statement, _ in step.inputs]
            columns = ", ".join(f"{name} {kind}" for name, kind in step.columns)
            parts.append(f"-- Python makes {step.name} of it: {columns}")
        return "\n\n".join([*parts, self.statement.text])


_REALS = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _with_names_of_reals(rows: Iterator[list[Any]], places: list[int]) -> Iterator[list[Any]]:
    """Rows in which reals that are no numbers have the names that Kusto gives them."""
    for row in rows:
        for place in places:
            if isinstance(row[place], str):
                row[place] = _REALS.get(row[place], row[place])
        yield row


def planned(compiler: Compiler, relation: Relation) -> Plan:
    """The plan of a query whose result is ``relation``."""
    final, columns = _shown(relation, lambda kind, text: wire_text(Value(kind, text)))
    return Plan(columns, *_statements(compiler, final), compiler.chart)


def inner_plan(compiler: Compiler, relation: Relation) -> Plan:
    """A plan for rows that the compiler itself wants to see."""
    final, columns = _shown(relation, read_expression)
    return Plan(columns, *_statements(compiler, final))


def stored_plan(compiler: Compiler, relation: Relation) -> Plan:
    """A plan whose rows have their values as ClickHouse stores them, for readers of its own formats."""
    final, columns = _shown(relation, lambda kind, text: text)
    return Plan(columns, *_statements(compiler, final))


def _shown(relation: Relation, expression: Any) -> tuple[Select, list[tuple[str, str]]]:
    final = over(relation)
    final.columns = [column for column in final.columns if not is_hidden(column.name)]
    for column in final.columns:
        column.sql = expression(column.type, column.sql)
        column.plain = False
    return final, [(column.name, column.type) for column in final.columns]


def _statements(compiler: Compiler, final: Select) -> tuple[Statement, list[Step]]:
    final.require(final.columns)
    steps: list[Step] = []
    done: list[Local] = []
    for local in compiler.locals:
        if local.uses:
            steps.append(_step(compiler, local, done))
            done.append(local)
    return _statement(compiler, final, done), steps


def _step(compiler: Compiler, local: Local, done: Sequence[Local]) -> Step:
    inputs: list[tuple[Statement, list[tuple[str, str]]]] = []
    for relation in local.over:
        read_columns = [column for column in all_columns(relation) if column in relation.needed]
        # Rows come in their order, which only the outermost SELECT keeps.
        final = over(relation)
        relation.needed |= {column for key in final.order for column in key.deps}
        final.columns = [
            Column(column.name, column.type, read_expression(column.type, sql.ref(column.name)))
            for column in read_columns
        ] or [Column(f"{HIDDEN}row", "long", "1")]
        final.needed = set(final.columns)
        read_as = [(column.name, column.type) for column in final.columns]
        inputs.append((_statement(compiler, final, done), read_as))
    columns = [(column.name, column.type) for column in local.columns if column in local.needed]
    if not columns:
        columns = [(local.columns[0].name, local.columns[0].type)]
    return Step(local.name, inputs, columns, local.work)


def all_columns(relation: Relation) -> list[Column]:
    return [*relation.columns, *(relation.hidden if isinstance(relation, Select) else ())]


def _statement(compiler: Compiler, final: Select, done: Sequence[Local]) -> Statement:
    """The text of a SELECT with what it reads in front of it."""
    body = final.text()
    shared = {item.name: item for item in compiler.shared}
    texts: dict[str, str] = {}
    pending = [body]
    while pending:
        text = pending.pop()
        for name, item in shared.items():
            if name not in texts and f" {name} " in text:
                texts[name] = item.over.text(1)
                pending.append(texts[name])
    if _expanded(body, texts) > MOST_EXPANDED:
        raise KqlError("The query is too complex.", code="E_QUERY_RESULT_SET_TOO_LARGE")
    read_by = [body, *texts.values()]
    parts, names = ["WITH "], []
    for local in done:
        if any(f" {local.name} " in text for text in read_by):
            before, behind = _step_table(local)
            parts[-1] += before
            parts.append(f"{behind},\n")
            names.append(local.name)
    # One that another reads is written out there: ClickHouse may begin the other before it is there to read.
    kept = {name for name in texts if not any(f" {name} " in text for text in texts.values())}
    tables = ",\n".join(
        f"{item.name} AS {'MATERIALIZED ' if item.name in kept else ''}(\n{texts[item.name]}\n)"
        for item in compiler.shared
        if item.name in texts
    )
    if tables:
        parts[-1] += f"{tables}\n"
    elif names:
        parts[-1] = parts[-1].removesuffix(",\n") + "\n"
    else:
        parts = [""]
    parts[-1] += body
    return Statement(tuple(parts), tuple(names))


def _expanded(body: str, texts: Mapping[str, str]) -> int:
    """How long a statement is where each name of a WITH is replaced by its text, as ClickHouse does."""
    sizes: dict[str, int] = {}

    def size(text: str) -> int:
        found = len(text)
        for name, inner in texts.items():
            if uses := text.count(f" {name} "):
                if name not in sizes:
                    sizes[name] = size(inner)
                found += uses * sizes[name]
        return found

    return size(body)


def _step_table(local: Local) -> tuple[str, str]:
    """What defines the rows of a step: the text before its data, and behind."""
    columns = [(column.name, column.type) for column in local.columns if column in local.needed]
    before, behind = written(columns or [(local.columns[0].name, local.columns[0].type)])
    return f"{local.name} AS {before}", behind


def _bounded(columns: Sequence[tuple[str, str]], rows: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """The rows, as long as they are few and small enough to be held here. KqlError where they are not."""
    dynamic = [kind == "dynamic" for _, kind in columns]
    size = 0
    for number, row in enumerate(rows):
        for value, parsed in zip(row, dynamic, strict=True):
            size += CELL
            if isinstance(value, str):
                size += len(value)
                if parsed:
                    size += LIST * (value.count("[") + value.count("{")) + CELL * value.count(",")
        if number >= STEP_ROWS or size > STEP_BYTES:
            raise KqlError(
                "Query stopped due to excessive resource consumption.", code="E_QUERY_RESULT_SET_TOO_LARGE"
            )
        yield row


def wire_value(kind: str, value: Any) -> Any:
    """A value of a row that `Plan.run` gives, with a dynamic as what its JSON stands for."""
    return from_json(kind, value) if kind == "dynamic" else value
