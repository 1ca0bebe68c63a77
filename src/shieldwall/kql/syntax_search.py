"""Syntax of search and find, whose predicates are terms: ``"x"``, ``"x*"``, ``Column:"x"``, conditions."""

from __future__ import annotations

from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Binary, Call, Expr, Literal, Name, Pipeline, Star
from shieldwall.kql.syntax_parts import Parts, ended, patterns, read_options, reads, table_pattern

TERM = ":"
"""The operator of a search term: has, hasprefix, contains... as the wildcards of its text say."""


@reads("search")
def _search(parser: Parser) -> Parts:
    options = read_options(parser, "kind")
    tables = _tables(parser)
    return options | {"tables": tables, "predicate": search_predicate(parser)}


@reads("find")
def _find(parser: Parser) -> Parts:
    options = read_options(parser, "withsource", "datascope")
    tables = _tables(parser)
    options |= read_options(parser, "withsource", "datascope")
    parser.accept("where")
    parts: Parts = {"tables": tables, "predicate": search_predicate(parser), "project": None, "pack": False}
    parts |= options
    word = parser.hyphenated() if parser.at("project") else ""
    if word == "project":
        parts["project"] = _projected(parser, parts)
        word = parser.hyphenated() if parser.at("project") else ""
    elif word == "project-smart":
        word = parser.hyphenated() if parser.at("project") else ""
    if word == "project-away":
        parts["away"] = patterns(parser)
    elif word:
        raise parser.unexpected("the end of find")
    return parts


def _projected(parser: Parser, parts: Parts) -> list[tuple[str, str, int]]:
    """Columns with the types they are to have (empty: their own)."""
    columns: list[tuple[str, str, int]] = []
    while True:
        if parser.token.text in ("pack", "pack_all") and parser.peek().text == "(":
            parser.advance()
            parser.expect("(")
            parser.accept("*")
            parser.expect(")")
            parts["pack"] = True
        else:
            at = parser.token.start
            name = parser.identifier()
            columns.append((name, parser.identifier("a type") if parser.accept(":") else "", at))
        if not parser.accept(","):
            return columns


def _tables(parser: Parser) -> list[Pipeline]:
    """``in (T1, Device*, (T2 | where a))``; empty where it is not there."""
    tables: list[Pipeline] = []
    if parser.at("in") and parser.peek().text == "(":
        parser.advance()
        parser.expect("(")
        tables.append(table_pattern(parser))
        while parser.accept(","):
            tables.append(table_pattern(parser))
        parser.expect(")")
    return tables


def search_predicate(parser: Parser) -> Expr:
    left = _all(parser)
    while parser.at("or"):
        at = parser.advance().start
        left = Binary(at, "or", left, _all(parser))
    return left


def _all(parser: Parser) -> Expr:
    left = _term(parser)
    while parser.at("and"):
        at = parser.advance().start
        left = Binary(at, "and", left, _term(parser))
    return left


def _ends(parser: Parser) -> bool:
    return ended(parser) or parser.token.text in ("and", "or", "project", ",")


def _term(parser: Parser) -> Expr:
    token, start = parser.token, parser.index
    if token.kind == "string":
        value = parser._primary()
        if _ends(parser):
            return Binary(token.start, TERM, Star(token.start), value)
    elif parser.at("*"):
        parser.advance()
        if _ends(parser):
            return Literal(token.start, "bool", True)
    elif parser.at("not") and parser.peek().text == "(":
        parser.advance()
        parser.advance()
        if (inner := _inner(parser)) is not None:
            return Call(token.start, "not", [inner])
    elif parser.at("("):
        parser.advance()
        if (inner := _inner(parser)) is not None:
            return inner
    elif token.kind == "name" and parser.peek().text == ":":
        name = parser.identifier()
        parser.expect(":")
        if parser.accept("*"):
            return Call(token.start, "isnotempty", [Name(token.start, name)])
        return Binary(token.start, TERM, Name(token.start, name), parser._unary())
    parser.back_to(start)
    return parser._equality()


def _inner(parser: Parser) -> Expr | None:
    """A predicate up to its closing parenthesis; None where it is none, but part of an expression."""
    try:
        found = search_predicate(parser)
        parser.expect(")")
    except KqlSyntaxError:
        return None
    return found if _ends(parser) else None
