"""Collections whose rows are in ClickHouse: the same filters, orders and pages, as SQL with parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Executable,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    True_,
    func,
    select,
)
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import OPERATORS, SQLCompiler
from sqlalchemy.types import TypeEngine

from shieldwall.api.odata.compile import CLICKHOUSE, Condition, compile_filter
from shieldwall.api.odata.fields import EntitySet, Field, Kind, by_name
from shieldwall.api.odata.options import Options
from shieldwall.api.odata.query import Page, arrange, cut
from shieldwall.telemetry.store import TelemetryStore

SOURCE = "source"
LIST = "list"
"""The kind of a column that is answered and cannot be asked for in a filter."""

_TYPES: Mapping[Kind, type[TypeEngine[Any]]] = {Kind.TIME: DateTime, Kind.NUMBER: Float, Kind.FLAG: Boolean}
# A number may be compared with any number; numbers here are counts and scores, which a Float64 holds.
_PARAMETERS: Mapping[type[Any], str] = {
    DateTime: "DateTime64(6, 'UTC')",
    Float: "Float64",
    Boolean: "Bool",
}


_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2262, 4, 1, tzinfo=UTC)
"""What a DateTime64 can hold; no row is beyond."""


@dataclass(frozen=True)
class Source:
    """Where a collection's rows come from: a SELECT of ours whose columns bear the properties' names."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def rows_set(
    name: str,
    columns: str,
    *,
    order: tuple[tuple[str, bool], ...] = (),
    aliases: Mapping[str, str] | None = None,
    page_limit: int = 10_000,
) -> EntitySet:
    """A collection over ClickHouse.

    ``columns`` are ``name kind`` with commas between, text where no kind is named; the first is the key.
    A ``?`` at the end says that there may be nulls.
    """
    fields: list[Field] = []
    made: list[Column[Any]] = []
    for part in columns.split(","):
        words = part.split()
        kind = words[1] if len(words) > 1 else Kind.TEXT.value
        nullable = words[-1].endswith("?")
        label, kind = words[0].rstrip("?"), kind.rstrip("?")
        known = None if kind == LIST else Kind(kind)
        column: Column[Any] = Column(label, _TYPES.get(known, String) if known else String, nullable=nullable)
        made.append(column)
        if known is not None:
            fields.append(Field(label, known, column))
    table = Table(SOURCE, MetaData(), *made)
    return EntitySet(
        name,
        table,
        fields[0].name,
        by_name(fields),
        aliases=aliases or {},
        order=order,
        page_limit=page_limit,
    )


def fetch_rows(
    store: TelemetryStore,
    tenant_id: str,
    entity: EntitySet,
    source: Source,
    options: Options,
    *where: Condition,
) -> Page:
    """One page of the tenant's rows, each a dictionary of the declared columns."""
    conditions = [*where, *_filter(entity, options)]
    total = _count(store, tenant_id, entity, source, conditions) if options.count else None
    if options.limit == 0:
        return Page([], total, None)
    statement = arrange(select(entity.model).where(*conditions), options)
    found = _run(store, tenant_id, source, statement)
    return cut(found, options, total, _place)


def count_rows(
    store: TelemetryStore,
    tenant_id: str,
    entity: EntitySet,
    source: Source,
    options: Options,
    *where: Condition,
) -> int:
    """How many rows the filter finds, whatever the page."""
    return _count(store, tenant_id, entity, source, [*where, *_filter(entity, options)])


def _place(row: Mapping[str, Any], options: Options) -> list[Any]:
    return [row[field.column.name] for field, _ in options.order]  # type: ignore[attr-defined]


def _count(
    store: TelemetryStore,
    tenant_id: str,
    entity: EntitySet,
    source: Source,
    conditions: Sequence[Condition],
) -> int:
    statement = select(func.count().label("rows")).select_from(entity.model).where(*conditions)
    return int(_run(store, tenant_id, source, statement)[0]["rows"])


def _filter(entity: EntitySet, options: Options) -> list[Condition]:
    return [] if options.filter is None else [compile_filter(options.filter, entity, CLICKHOUSE)]


def _run(
    store: TelemetryStore, tenant_id: str, source: Source, statement: Executable
) -> list[dict[str, Any]]:
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    values = {name: _parameter(value) for name, value in compiled.params.items()}
    sql = f"WITH {SOURCE} AS ({source.sql}) {compiled}"
    return store.query(tenant_id, sql, {**source.parameters, **values})


def _parameter(value: Any) -> Any:
    if isinstance(value, datetime):
        value = min(max(value, _EARLIEST), _LATEST)
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return str(value).lower() if isinstance(value, bool) else value


class _Compiler(SQLCompiler):
    """SQL as ClickHouse reads it: parameters with their types, and no ``IS true``."""

    def bindparam_string(  # type: ignore[override]
        self, name: str, *, bindparam_type: TypeEngine[Any] | None = None, **_options: Any
    ) -> str:
        kind = type(bindparam_type)
        usual = "Int64" if isinstance(bindparam_type, Integer) else "String"
        return f"{{{name}:{_PARAMETERS.get(kind, usual)}}}"

    def visit_is__binary(self, binary: Any, operator: Any, **options: Any) -> str:
        if isinstance(binary.right, True_):
            return f"({self.process(binary.left, **options)} = true)"
        return self._generate_generic_binary(binary, OPERATORS[operators.is_], **options)


class _Dialect(DefaultDialect):
    name = CLICKHOUSE
    statement_compiler = _Compiler
    supports_native_boolean = True
    supports_statement_cache = False


_DIALECT = _Dialect(paramstyle="named")
