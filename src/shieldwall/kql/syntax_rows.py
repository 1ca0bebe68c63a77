"""Syntax of operators that choose and order rows, and of those without parts."""

from __future__ import annotations

from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax_parts import Parts, ordered, ordering, read_options, reads


@reads("count", "consume")
def _no_parts(parser: Parser) -> Parts:
    read_options(parser)
    return {}


@reads("getschema")
def _getschema(parser: Parser) -> Parts:
    return read_options(parser, "kind")


@reads("where", "filter")
def _where(parser: Parser) -> Parts:
    read_options(parser)
    return {"predicate": parser.condition()}


@reads("take", "limit", "sample")
def _take(parser: Parser) -> Parts:
    return {"count": parser.expression()}


@reads("sample-distinct")
def _sample_distinct(parser: Parser) -> Parts:
    count = parser.expression()
    parser.expect("of")
    return {"count": count, "of": parser.named_expression()}


@reads("sort", "order")
def _sort(parser: Parser) -> Parts:
    read_options(parser)
    parser.expect("by")
    return {"by": ordering(parser)}


@reads("top")
def _top(parser: Parser) -> Parts:
    count = parser.expression()
    read_options(parser)
    parser.expect("by")
    return {"count": count, "by": ordering(parser)}


@reads("top-nested")
def _top_nested(parser: Parser) -> Parts:
    levels: list[Parts] = []
    while True:
        count = None if parser.at("of") else parser.expression()
        parser.expect("of")
        of = parser.named_expression()
        others = None
        if parser.accept("with"):
            parser.expect("others")
            parser.expect("=")
            others = parser.expression()
        parser.expect("by")
        levels.append({"count": count, "of": of, "others": others, "by": ordered(parser)})
        if not parser.accept(","):
            return {"levels": levels}
        if parser.at("top-nested") or parser.at("top"):
            parser.hyphenated()


@reads("top-hitters")
def _top_hitters(parser: Parser) -> Parts:
    count = parser.expression()
    parser.expect("of")
    of = parser.named_expression()
    return {"count": count, "of": of, "by": parser.expression() if parser.accept("by") else None}


@reads("reduce")
def _reduce(parser: Parser) -> Parts:
    options = read_options(parser, "kind")
    parser.expect("by")
    parts: Parts = options | {"of": parser.expression(), "threshold": None, "characters": None}
    if parser.accept("with"):
        while parser.token.kind == "name":
            name = parser.identifier()
            parser.expect("=")
            parts[name] = parser.expression()
            parser.accept(",")
    return parts
