"""What the syntax of several operators has in common, and where the readers of their parts put themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Expr, Literal, Name, Operator, Ordered, Pipeline, Star

Parts = dict[str, Any]
Reader = Callable[[Parser], Parts]

OPERATORS: dict[str, Reader] = {}
"""Readers of operators that stand behind a bar."""
SOURCES: dict[str, Reader] = {}
"""Readers of those that a tabular expression may begin with, where they differ."""


def reads(*names: str, into: dict[str, Reader] = OPERATORS) -> Callable[[Reader], Reader]:
    """Declare a function that reads the parts of these operators, from behind their name."""

    def take(reader: Reader) -> Reader:
        for name in names:
            into[name] = reader
        return reader

    return take


def read_options(parser: Parser, *names: str) -> Parts:
    """``kind=inner hint.strategy=shuffle``: those of ``names``, with hints and unknown ones left out."""
    found: Parts = {}
    while parser.token.kind == "name":
        token = parser.token
        if token.text == "hint" and parser.peek().text == ".":
            parser.advance()
            parser.advance()
            hint = f"hint.{parser.advance().text}"
            parser.expect("=")
            value = option_value(parser)
            if hint in names:
                found[hint] = value
        elif token.text in names and parser.peek().text == "=":
            parser.advance()
            parser.advance()
            found[token.text] = option_value(parser)
        else:
            break
    return found


def option_value(parser: Parser) -> Any:
    token = parser.token
    if token.kind == "name":
        return parser.advance().text
    value = parser.expression()
    return value.value if isinstance(value, Literal) else value


def bracketed_options(parser: Parser, *, lists: bool = False) -> dict[str, list[Any]]:
    """``(name = value, ...)``: all values of each name. With ``lists``, several stand behind one ``=``."""
    found: dict[str, list[Any]] = {}
    parser.expect("(")
    while not parser.at(")"):
        values = found.setdefault(parser.identifier(), [])
        parser.expect("=")
        values.append(option_value(parser))
        while lists and parser.at(",") and parser.peek(2).text != "=":
            parser.advance()
            values.append(option_value(parser))
        if not parser.accept(","):
            break
    parser.expect(")")
    return found


def ended(parser: Parser) -> bool:
    return parser.token.kind == "end" or parser.token.text in ("|", ";", ")", "}")


def pattern(parser: Parser) -> Expr:
    """A name, maybe with wildcards, maybe followed by an order."""
    at = parser.token.start
    text, end = "", at
    call = parser.token.kind == "name" and parser.peek().text == "("
    if call or parser.at("["):
        value: Expr = parser.expression() if call else Name(at, parser.identifier())
    else:
        while parser.token.kind in ("name", "number") or parser.at("*"):
            if text and parser.token.start != end:
                break
            end = parser.token.end
            text += parser.advance().text
        if not text:
            raise parser.unexpected("a column name")
        value = Star(at, text) if "*" in text else Name(at, text)
    if token := parser.accept("asc", "desc", "granny-asc", "granny-desc"):
        return Ordered(at, value, token.text == "desc")
    return value


def patterns(parser: Parser) -> list[Expr]:
    found = [pattern(parser)]
    while parser.accept(","):
        found.append(pattern(parser))
    return found


def ordered(parser: Parser) -> Ordered:
    at = parser.token.start
    value = parser.named_expression()
    descending = True
    if token := parser.accept("asc", "desc"):
        descending = token.text == "desc"
    nulls = ""
    if parser.accept("nulls"):
        token = parser.accept("first", "last")
        if token is None:
            raise parser.unexpected("'first' or 'last'")
        nulls = token.text
    return Ordered(at, value, descending, nulls)


def ordering(parser: Parser) -> list[Ordered]:
    found = [ordered(parser)]
    while parser.accept(","):
        found.append(ordered(parser))
    return found


def right_side(parser: Parser) -> Pipeline:
    at = parser.token.start
    if parser.accept("("):
        found = parser.pipeline()
        parser.expect(")")
        return found
    value = parser._postfix(parser._primary())
    return Pipeline(at, value, [])


def subquery(parser: Parser) -> list[Operator]:
    """Operators that begin without a table."""
    return [parser.operator(as_source=False), *parser.operators()]


def table_pattern(parser: Parser) -> Pipeline:
    at = parser.token.start
    if parser.at("*") or (
        parser.token.kind == "name" and parser.peek().text == "*" and parser.token.end == parser.peek().start
    ):
        return Pipeline(at, pattern(parser), [])
    return right_side(parser)
