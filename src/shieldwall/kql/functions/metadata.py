"""What a query can ask about its surroundings, most of which have no counterpart here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import dynamic_text
from shieldwall.kql.functions.arguments import bound, expect
from shieldwall.kql.functions.registry import coded
from shieldwall.kql.relation import is_hidden
from shieldwall.kql.syntax import Call, Star
from shieldwall.kql.values import Value, constant, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_NEUTRAL = {
    "current_cluster_endpoint": ("string", ""),
    "current_database": ("string", "default"),
    "current_principal": ("string", ""),
    "current_principal_details": ("dynamic", "{}"),
    "current_node_id": ("string", ""),
    "extent_id": ("guid", "00000000-0000-0000-0000-000000000000"),
    "extentid": ("guid", "00000000-0000-0000-0000-000000000000"),
    "extent_tags": ("dynamic", None),
    "rowstore_ordinal_range": ("dynamic", None),
}
"""Answers that tell nothing: queries that ask for them still run."""

_SIZES = {"bool": 1, "int": 4, "long": 8, "real": 8, "datetime": 8, "timespan": 8, "guid": 16, "decimal": 34}
"""Bytes."""


@coded(*_NEUTRAL)
def neutral(binder: Binder, call: Call, args: list[Value]) -> Value:
    expect(call, 0)
    return constant(*_NEUTRAL[call.name])


@coded("current_principal_is_member_of")
def is_member(binder: Binder, call: Call, args: list[Value]) -> Value:
    bound(binder, call, 1, 64)
    return constant("bool", False)


@coded("cursor_after", "cursor_before_or_at", "cursor_current", "current_cursor")
def cursor(binder: Binder, call: Call, args: list[Value]) -> Value:
    raise KqlError(f"{call.name}(): tables have no cursors here; use ingestion_time().", call.at, "SEM0260")


@coded("estimate_data_size")
def estimate_data_size(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The bytes that values take; ``*`` stands for all columns."""
    expect(call, 1, 10_000)
    values: list[Value] = []
    for arg in call.args:
        values += binder.row.columns() if isinstance(arg, Star) else [binder.bind(arg)]
    values = [value for value in values if not is_hidden(value.name)]
    fixed = sum(_SIZES.get(value.type, 0) for value in values)
    lengths = [f"toInt64(length({value.sql}))" for value in values if value.type not in _SIZES]
    return made("long", f"({' + '.join([str(fixed), *lengths])})", *values)


@coded("column_names_of")
def column_names_of(binder: Binder, call: Call, args: list[Value]) -> Value:
    """The names of a table's columns."""
    expect(call, 1)
    if (relation := binder.relation(call.args[0])) is None:
        raise KqlError("column_names_of() takes a table.", call.at, "SEM0231")
    names = [column.name for column in relation.columns if not is_hidden(column.name)]
    return constant("dynamic", dynamic_text(names))
