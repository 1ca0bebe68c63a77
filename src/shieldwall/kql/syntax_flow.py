"""Syntax of operators that hold other operators, calls or steps."""

from __future__ import annotations

from typing import Any

from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Call, Name, Operator
from shieldwall.kql.syntax_parts import (
    Parts,
    bracketed_options,
    ended,
    option_value,
    ordering,
    read_options,
    reads,
    subquery,
)


@reads("evaluate")
def _evaluate(parser: Parser) -> Parts:
    read_options(parser)
    call = parser._primary()
    if not isinstance(call, Call):
        raise parser.unexpected("a plugin's name and arguments")
    schema: list[tuple[str, str]] | None = None
    if parser.accept(":"):
        at_star = parser.peek().text == "*"
        schema = []
        if at_star:
            parser.expect("(")
            parser.advance()
            schema.append(("*", ""))
            while parser.accept(","):
                name = parser.identifier()
                parser.expect(":")
                schema.append((name, parser.identifier("a type")))
            parser.expect(")")
        else:
            schema = parser.schema()
    return {"call": call, "schema": schema}


@reads("invoke")
def _invoke(parser: Parser) -> Parts:
    call = parser._primary()
    if not isinstance(call, Call):
        raise parser.unexpected("a function's name and arguments")
    return {"call": call}


@reads("partition")
def _partition(parser: Parser) -> Parts:
    options = read_options(parser, "hint.strategy")
    parser.expect("by")
    by = Name(parser.token.start, parser.identifier("a column name"))
    options |= read_options(parser, "hint.strategy")
    opened = parser.accept("(", "{")
    if opened is None:
        raise parser.unexpected("'('")
    if opened.text == "{":
        body: Any = parser.pipeline()
        parser.expect("}")
        return options | {"by": by, "query": body}
    body = subquery(parser)
    parser.expect(")")
    return options | {"by": by, "body": body}


@reads("fork")
def _fork(parser: Parser) -> Parts:
    branches: list[tuple[str, list[Operator]]] = []
    while not ended(parser):
        name = ""
        if parser.token.kind == "name" and parser.peek().text == "=":
            name = parser.advance().text
            parser.advance()
        parser.expect("(")
        branches.append((name, subquery(parser)))
        parser.expect(")")
        parser.accept(",")
    return {"branches": branches}


@reads("facet")
def _facet(parser: Parser) -> Parts:
    parser.expect("by")
    by = parser.items()
    body: list[Operator] = []
    if parser.accept("with"):
        if parser.accept("("):
            body = subquery(parser)
            parser.expect(")")
        else:
            body = [parser.operator(as_source=False)]
    return {"by": by, "body": body}


@reads("as")
def _as(parser: Parser) -> Parts:
    read_options(parser)
    return {"name": parser.identifier()}


@reads("render")
def _render(parser: Parser) -> Parts:
    chart = parser.identifier("a kind of chart")
    options: Parts = {}
    read_options(parser)
    while parser.token.kind == "name" and not ended(parser):
        if parser.accept("with"):
            for name, values in bracketed_options(parser, lists=True).items():
                options[name] = values[0] if len(values) == 1 else values
        else:
            name = parser.identifier()
            if parser.accept("="):
                options[name] = option_value(parser)
    return {"chart": chart, "options": options}


@reads("scan")
def _scan(parser: Parser) -> Parts:
    options = read_options(parser, "with_match_id")
    parts: Parts = options | {"partition": [], "order": [], "declare": []}
    while parser.token.kind == "name" and not parser.at("with"):
        word = parser.advance().text
        if word == "partition":
            parser.expect("by")
            parts["partition"] = parser.items()
        elif word == "order":
            parser.expect("by")
            parts["order"] = ordering(parser)
        elif word == "declare":
            parts["declare"] = parser.parameters()
    parser.expect("with")
    parser.expect("(")
    steps: list[Parts] = []
    while parser.accept("step"):
        step: Parts = {
            "name": parser.identifier(),
            "optional": bool(parser.accept("optional")),
            "output": "all",
        }
        if parser.accept("output"):
            parser.expect("=")
            step["output"] = parser.identifier()
        parser.expect(":")
        step["condition"] = parser.expression()
        step["assign"] = []
        if parser.accept("=>"):
            step["assign"] = parser.items()
        parser.expect(";")
        steps.append(step)
    parser.expect(")")
    return parts | {"steps": steps}
