"""The syntax of tabular operators by their names; readers of their parts are in the modules ``syntax_*``."""

from __future__ import annotations

from shieldwall.kql import (  # noqa: F401
    syntax_columns,
    syntax_flow,
    syntax_graphs,
    syntax_rows,
    syntax_search,
    syntax_tables,
)
from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Operator
from shieldwall.kql.syntax_parts import OPERATORS, SOURCES

_SAME = {
    "filter": "where",
    "order": "sort",
    "limit": "take",
    "mvapply": "mv-apply",
    "external_data": "externaldata",
}


def parse_operator(parser: Parser, *, as_source: bool) -> Operator:
    """The operator that comes next, at the start of a tabular expression or behind a bar."""
    at = parser.token.start
    name = parser.hyphenated()
    read = SOURCES.get(name) if as_source else None
    read = read or OPERATORS.get(name)
    if read is None:
        raise KqlSyntaxError(f"'{name}' is not an operator.", at)
    return Operator(at, _SAME.get(name, name), read(parser))
