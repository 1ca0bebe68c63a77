"""Syntax of what brings tables in: sources, and operators that put tables together."""

from __future__ import annotations

from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Expr
from shieldwall.kql.syntax_parts import (
    SOURCES,
    Parts,
    bracketed_options,
    read_options,
    reads,
    right_side,
    table_pattern,
)


@reads("print", into=SOURCES)
def _print(parser: Parser) -> Parts:
    return {"items": parser.items()}


@reads("range", into=SOURCES)
def _range(parser: Parser) -> Parts:
    name = parser.identifier()
    parser.expect("from")
    start = parser.expression()
    parser.expect("to")
    stop = parser.expression()
    parser.expect("step")
    return {"name": name, "from": start, "to": stop, "step": parser.expression()}


@reads("datatable", into=SOURCES)
def _datatable(parser: Parser) -> Parts:
    columns = parser.schema()
    parser.expect("[")
    values: list[Expr] = []
    while not parser.at("]"):
        values.append(parser.expression())
        if not parser.accept(","):
            break
    parser.expect("]")
    return {"columns": columns, "values": values}


@reads("externaldata", "external_data", into=SOURCES)
def _externaldata(parser: Parser) -> Parts:
    columns = parser.schema()
    addresses: list[Expr] = []
    if parser.accept("["):
        while not parser.at("]"):
            addresses.append(parser.expression())
            if not parser.accept(","):
                break
        parser.expect("]")
    else:
        addresses.append(parser.expression())
    options = bracketed_options(parser) if parser.accept("with") else {}
    return {
        "columns": columns,
        "addresses": addresses,
        "options": {name: values[-1] for name, values in options.items()},
    }


@reads("join", "lookup")
def _join(parser: Parser) -> Parts:
    options = read_options(parser, "kind", "withsource", "decodeblocks", "isfuzzy")
    right = right_side(parser)
    options |= read_options(parser, "kind")
    if parser.accept("where"):
        return options | {"right": right, "on": [parser.expression()]}
    parser.expect("on")
    return options | {"right": right, "on": parser.items()}


@reads("union")
def _union(parser: Parser) -> Parts:
    options = read_options(parser, "kind", "withsource", "with_source", "isfuzzy")
    if "with_source" in options:
        options["withsource"] = options.pop("with_source")
    tables = [table_pattern(parser)]
    while parser.accept(","):
        tables.append(table_pattern(parser))
    return options | {"tables": tables}
