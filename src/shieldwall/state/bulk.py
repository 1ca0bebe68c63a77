"""Many new rows of one table at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store rows, each of the same columns; a column that is not given is null, and may have no default.

    SQLAlchemy works on each row for longer than SQLite does; here it writes the statement, and a column's
    values are made what the driver takes all together. PostgreSQL has a faster way of its own.
    """
    if not rows:
        return
    dialect = connection.dialect
    if dialect.name != "sqlite":
        connection.execute(insert(table), rows)
        return
    statement = insert(table).compile(dialect=dialect, column_keys=list(rows[0]))
    columns = []
    for name in statement.positiontup or ():
        process = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        values = [row[name] for row in rows]
        columns.append(values if process is None else list(map(process, values)))
    connection.exec_driver_sql(str(statement), list(zip(*columns, strict=True)))
