"""Kusto's scalar types, their names, and how ClickHouse holds their values."""

from __future__ import annotations

TYPE_NAMES = {
    "string": "string",
    "bool": "bool",
    "boolean": "bool",
    "int": "int",
    "int32": "int",
    "uint": "int",
    "long": "long",
    "int64": "long",
    "ulong": "long",
    "real": "real",
    "double": "real",
    "float": "real",
    "decimal": "decimal",
    "datetime": "datetime",
    "date": "datetime",
    "timespan": "timespan",
    "time": "timespan",
    "guid": "guid",
    "uuid": "guid",
    "uniqueid": "guid",
    "dynamic": "dynamic",
}
"""Every spelling of a type, with the type it means."""

SQL_TYPES = {
    "string": "String",
    "bool": "Nullable(Bool)",
    "int": "Nullable(Int32)",
    "long": "Nullable(Int64)",
    "real": "Nullable(Float64)",
    "decimal": "Nullable(Decimal(38, 17))",
    "datetime": "Nullable(DateTime64(7, 'UTC'))",
    "timespan": "Nullable(Int64)",
    "guid": "Nullable(UUID)",
    "dynamic": "String",
}
"""A timespan is its ticks of 100 ns. A dynamic is its JSON text, empty for null. A string is never null."""

NET_TYPES = {
    "string": "String",
    "bool": "SByte",
    "int": "Int32",
    "long": "Int64",
    "real": "Double",
    "decimal": "SqlDecimal",
    "datetime": "DateTime",
    "timespan": "TimeSpan",
    "guid": "Guid",
    "dynamic": "Object",
}
"""What the service calls the types of columns on the wire."""
FROM_NET = {net: kind for kind, net in NET_TYPES.items()}

NUMERIC = ("int", "long", "real", "decimal")

_RANK = {"int": 0, "long": 1, "decimal": 2, "real": 3}


def wider(left: str, right: str) -> str:
    """The type of arithmetic on two numbers."""
    return left if _RANK[left] >= _RANK[right] else right
