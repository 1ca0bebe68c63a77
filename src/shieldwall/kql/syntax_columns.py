"""Syntax of operators that choose, compute, read and aggregate columns."""

from __future__ import annotations

from typing import Any

from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Call, Expr, In, Star
from shieldwall.kql.syntax_parts import (
    Parts,
    bracketed_options,
    ended,
    patterns,
    read_options,
    reads,
    subquery,
)


@reads("project", "extend", "project-rename", "project-by-names", "distinct", "serialize")
def _items(parser: Parser) -> Parts:
    if ended(parser):
        return {"items": []}
    return {"items": parser.items()}


@reads("project-away", "project-keep", "project-reorder")
def _patterns(parser: Parser) -> Parts:
    return {"items": patterns(parser)}


@reads("summarize")
def _summarize(parser: Parser) -> Parts:
    read_options(parser)
    aggregates: list[Expr] = []
    if not parser.at("by") and not ended(parser):
        aggregates = parser.items()
    by = parser.items() if parser.accept("by") else []
    return {"aggregates": aggregates, "by": by}


@reads("mv-expand", "mvexpand")
def _mv_items(parser: Parser) -> Parts:
    options = read_options(parser, "with_itemindex", "bagexpansion", "kind")
    items: list[Parts] = []
    while True:
        value = parser.named_expression()
        kind = ""
        if parser.accept("to"):
            parser.expect("typeof")
            parser.expect("(")
            kind = parser.identifier("a type")
            parser.expect(")")
        items.append({"value": value, "type": kind})
        if not parser.accept(","):
            break
    limit = parser.expression() if parser.accept("limit") else None
    return options | {"items": items, "limit": limit}


@reads("mv-apply", "mvapply")
def _mv_apply(parser: Parser) -> Parts:
    parts = _mv_items(parser)
    parser.expect("on")
    parser.expect("(")
    parts["body"] = subquery(parser)
    parser.expect(")")
    return parts


@reads("parse", "parse-where")
def _parse(parser: Parser) -> Parts:
    options = read_options(parser, "kind", "flags")
    of = parser._unary()
    parser.expect("with")
    pattern: list[Any] = []
    while not ended(parser):
        token = parser.token
        if token.kind == "string":
            pattern.append(parser._primary())
        elif parser.accept("*"):
            pattern.append(Star(token.start))
        else:
            name = parser.identifier()
            kind = parser.identifier("a type") if parser.accept(":") else "string"
            pattern.append((name, kind))
    return options | {"of": of, "pattern": pattern}


@reads("parse-kv")
def _parse_kv(parser: Parser) -> Parts:
    of = parser._unary()
    parser.expect("as")
    columns = parser.schema()
    options = bracketed_options(parser) if parser.accept("with") else {}
    return {"of": of, "columns": columns, "options": options}


@reads("make-series")
def _make_series(parser: Parser) -> Parts:
    options = read_options(parser, "kind")
    items: list[Parts] = []
    while True:
        value = parser.named_expression()
        default = None
        if parser.accept("default"):
            parser.expect("=")
            default = parser.expression()
        items.append({"value": value, "default": default})
        if not parser.accept(","):
            break
    parser.expect("on")
    parts: Parts = {"items": items, "axis": parser.named_expression(), "from": None, "to": None, "step": None}
    axis = parts["axis"]
    if isinstance(axis, In) and len(axis.items) == 1 and isinstance(ranged := axis.items[0], Call):
        # ``on x in range(start, stop, step)``
        if ranged.name != "range" or len(ranged.args) != 3:
            raise parser.unexpected("range(start, stop, step)")
        parts |= {"axis": axis.of, "inclusive": True}
        parts |= dict(zip(("from", "to", "step"), ranged.args, strict=True))
    else:
        for word in ("from", "to", "step"):
            if parser.accept(word):
                parts[word] = parser.expression()
    parts["by"] = parser.items() if parser.accept("by") else []
    return options | parts
