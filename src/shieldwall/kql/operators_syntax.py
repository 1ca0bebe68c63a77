"""The syntax of tabular operators: for each, a function that reads its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Call, Expr, Literal, Name, Operator, Ordered, Pipeline, Star

Parts = dict[str, Any]


def parse_operator(parser: Parser, *, as_source: bool) -> Operator:
    """The operator that comes next, at the start of a tabular expression or behind a bar."""
    at = parser.token.start
    name = parser.hyphenated()
    read = _SOURCES.get(name) if as_source else None
    read = read or _OPERATORS.get(name)
    if read is None:
        raise KqlSyntaxError(f"'{name}' is not an operator.", at)
    return Operator(at, _SAME.get(name, name), read(parser))


_SAME = {
    "filter": "where",
    "order": "sort",
    "limit": "take",
    "mvexpand": "mv-expand",
    "mvapply": "mv-apply",
    "external_data": "externaldata",
}


def _options(parser: Parser, *names: str) -> Parts:
    """``kind=inner hint.strategy=shuffle``: those of ``names``, with hints and unknown ones left out."""
    found: Parts = {}
    while parser.token.kind == "name":
        token = parser.token
        if token.text == "hint" and parser.peek().text == ".":
            parser.advance()
            parser.advance()
            parser.advance()
            parser.expect("=")
            _option_value(parser)
        elif token.text in names and parser.peek().text == "=":
            parser.advance()
            parser.advance()
            found[token.text] = _option_value(parser)
        else:
            break
    return found


def _option_value(parser: Parser) -> Any:
    token = parser.token
    if token.kind == "name":
        return parser.advance().text
    value = parser.expression()
    return value.value if isinstance(value, Literal) else value


def _no_parts(parser: Parser) -> Parts:
    return {}


def _where(parser: Parser) -> Parts:
    _options(parser)
    return {"predicate": parser.expression()}


def _items(parser: Parser) -> Parts:
    if _ended(parser):
        return {"items": []}
    return {"items": parser.items()}


def _ended(parser: Parser) -> bool:
    return parser.token.kind == "end" or parser.token.text in ("|", ";", ")", "}")


def _patterns(parser: Parser) -> Parts:
    found = [_pattern(parser)]
    while parser.accept(","):
        found.append(_pattern(parser))
    return {"items": found}


def _pattern(parser: Parser) -> Expr:
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


def _summarize(parser: Parser) -> Parts:
    _options(parser)
    aggregates: list[Expr] = []
    if not parser.at("by") and not _ended(parser):
        aggregates = parser.items()
    by = parser.items() if parser.accept("by") else []
    return {"aggregates": aggregates, "by": by}


def _take(parser: Parser) -> Parts:
    return {"count": parser.expression()}


def _ordered(parser: Parser) -> Ordered:
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


def _ordering(parser: Parser) -> list[Ordered]:
    found = [_ordered(parser)]
    while parser.accept(","):
        found.append(_ordered(parser))
    return found


def _sort(parser: Parser) -> Parts:
    _options(parser)
    parser.expect("by")
    return {"by": _ordering(parser)}


def _top(parser: Parser) -> Parts:
    count = parser.expression()
    _options(parser)
    parser.expect("by")
    return {"count": count, "by": _ordering(parser)}


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
        levels.append({"count": count, "of": of, "others": others, "by": _ordered(parser)})
        if not parser.accept(","):
            return {"levels": levels}
        if parser.at("top-nested") or parser.at("top"):
            parser.hyphenated()


def _top_hitters(parser: Parser) -> Parts:
    count = parser.expression()
    parser.expect("of")
    of = parser.named_expression()
    return {"count": count, "of": of, "by": parser.expression() if parser.accept("by") else None}


def _sample_distinct(parser: Parser) -> Parts:
    count = parser.expression()
    parser.expect("of")
    return {"count": count, "of": parser.named_expression()}


def _right_side(parser: Parser) -> Pipeline:
    at = parser.token.start
    if parser.accept("("):
        found = parser.pipeline()
        parser.expect(")")
        return found
    value = parser._postfix(parser._primary())
    return Pipeline(at, value, [])


def _join(parser: Parser) -> Parts:
    options = _options(parser, "kind", "withsource", "decodeblocks", "isfuzzy")
    right = _right_side(parser)
    options |= _options(parser, "kind")
    if parser.accept("where"):
        return options | {"right": right, "on": [parser.expression()]}
    parser.expect("on")
    return options | {"right": right, "on": parser.items()}


def _union(parser: Parser) -> Parts:
    options = _options(parser, "kind", "withsource", "with_source", "isfuzzy")
    if "with_source" in options:
        options["withsource"] = options.pop("with_source")
    tables = [_union_leg(parser)]
    while parser.accept(","):
        tables.append(_union_leg(parser))
    return options | {"tables": tables}


def _union_leg(parser: Parser) -> Pipeline:
    at = parser.token.start
    if parser.at("*") or (
        parser.token.kind == "name" and parser.peek().text == "*" and parser.token.end == parser.peek().start
    ):
        return Pipeline(at, _pattern(parser), [])
    return _right_side(parser)


def _mv_items(parser: Parser) -> Parts:
    options = _options(parser, "with_itemindex", "bagexpansion", "kind")
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


def _mv_apply(parser: Parser) -> Parts:
    parts = _mv_items(parser)
    parser.expect("on")
    parser.expect("(")
    parts["body"] = _subquery(parser)
    parser.expect(")")
    return parts


def _subquery(parser: Parser) -> list[Operator]:
    """Operators that begin without a table."""
    return [parse_operator(parser, as_source=False), *parser.operators()]


def _parse(parser: Parser) -> Parts:
    options = _options(parser, "kind", "flags")
    of = parser._unary()
    parser.expect("with")
    pattern: list[Any] = []
    while not _ended(parser):
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


def _parse_kv(parser: Parser) -> Parts:
    of = parser._unary()
    parser.expect("as")
    columns = parser.schema()
    options: Parts = {}
    if parser.accept("with"):
        parser.expect("(")
        while not parser.at(")"):
            name = parser.identifier()
            parser.expect("=")
            options[name] = _option_value(parser)
            if not parser.accept(","):
                break
        parser.expect(")")
    return {"of": of, "columns": columns, "options": options}


def _make_series(parser: Parser) -> Parts:
    options = _options(parser, "kind")
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
    if parser.accept("in"):
        parser.expect("range")
        parser.expect("(")
        parts["from"] = parser.expression()
        parser.expect(",")
        parts["to"] = parser.expression()
        parser.expect(",")
        parts["step"] = parser.expression()
        parser.expect(")")
        parts["inclusive"] = True
    else:
        for word in ("from", "to", "step"):
            if parser.accept(word):
                parts[word] = parser.expression()
    parts["by"] = parser.items() if parser.accept("by") else []
    return options | parts


def _evaluate(parser: Parser) -> Parts:
    _options(parser)
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


def _invoke(parser: Parser) -> Parts:
    call = parser._primary()
    if not isinstance(call, Call):
        raise parser.unexpected("a function's name and arguments")
    return {"call": call}


def _partition(parser: Parser) -> Parts:
    _options(parser)
    parser.expect("by")
    by = parser.expression()
    _options(parser)
    opened = parser.accept("(", "{")
    if opened is None:
        raise parser.unexpected("'('")
    if opened.text == "{":
        body: Any = parser.pipeline()
        parser.expect("}")
        return {"by": by, "query": body}
    body = _subquery(parser)
    parser.expect(")")
    return {"by": by, "body": body}


def _fork(parser: Parser) -> Parts:
    branches: list[tuple[str, list[Operator]]] = []
    while not _ended(parser):
        name = ""
        if parser.token.kind == "name" and parser.peek().text == "=":
            name = parser.advance().text
            parser.advance()
        parser.expect("(")
        branches.append((name, _subquery(parser)))
        parser.expect(")")
        parser.accept(",")
    return {"branches": branches}


def _facet(parser: Parser) -> Parts:
    parser.expect("by")
    by = parser.items()
    body: list[Operator] = []
    if parser.accept("with"):
        if parser.accept("("):
            body = _subquery(parser)
            parser.expect(")")
        else:
            body = [parse_operator(parser, as_source=False)]
    return {"by": by, "body": body}


def _as(parser: Parser) -> Parts:
    _options(parser)
    return {"name": parser.identifier()}


def _render(parser: Parser) -> Parts:
    chart = parser.identifier("a kind of chart")
    options: Parts = {}
    _options(parser)
    while parser.token.kind == "name" and not _ended(parser):
        if parser.accept("with"):
            parser.expect("(")
            while not parser.at(")"):
                name = parser.identifier()
                parser.expect("=")
                value = [_option_value(parser)]
                while parser.at(",") and parser.peek(2).text != "=":
                    parser.advance()
                    value.append(_option_value(parser))
                options[name] = value[0] if len(value) == 1 else value
                if not parser.accept(","):
                    break
            parser.expect(")")
        else:
            name = parser.identifier()
            if parser.accept("="):
                options[name] = _option_value(parser)
    return {"chart": chart, "options": options}


def _range(parser: Parser) -> Parts:
    name = parser.identifier()
    parser.expect("from")
    start = parser.expression()
    parser.expect("to")
    stop = parser.expression()
    parser.expect("step")
    return {"name": name, "from": start, "to": stop, "step": parser.expression()}


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
    options: Parts = {}
    if parser.accept("with"):
        parser.expect("(")
        while not parser.at(")"):
            name = parser.identifier()
            parser.expect("=")
            options[name] = _option_value(parser)
            if not parser.accept(","):
                break
        parser.expect(")")
    return {"columns": columns, "addresses": addresses, "options": options}


def _search(parser: Parser) -> Parts:
    options = _options(parser, "kind", "withsource")
    tables: list[Pipeline] = []
    if parser.accept("in"):
        parser.expect("(")
        tables.append(_union_leg(parser))
        while parser.accept(","):
            tables.append(_union_leg(parser))
        parser.expect(")")
    return options | {"tables": tables, "predicate": parser.expression()}


def _find(parser: Parser) -> Parts:
    options = _options(parser, "withsource", "datascope")
    tables: list[Pipeline] = []
    if parser.accept("in"):
        parser.expect("(")
        tables.append(_union_leg(parser))
        while parser.accept(","):
            tables.append(_union_leg(parser))
        parser.expect(")")
    options |= _options(parser, "withsource")
    parser.accept("where")
    parts: Parts = options | {
        "tables": tables,
        "predicate": parser.expression(),
        "project": None,
        "smart": False,
    }
    if parser.accept("project"):
        columns: list[tuple[str, str]] = []
        while True:
            if parser.at("pack") or parser.at("pack_all"):
                parser.advance()
                parser.expect("(")
                parser.accept("*")
                parser.expect(")")
                parts["pack"] = True
            else:
                name = parser.identifier()
                columns.append((name, parser.identifier("a type") if parser.accept(":") else ""))
            if not parser.accept(","):
                break
        parts["project"] = columns
    elif parser.at("project") or parser.accept("project-smart"):
        parts["smart"] = True
    return parts


def _print(parser: Parser) -> Parts:
    return {"items": parser.items()}


def _reduce(parser: Parser) -> Parts:
    _options(parser, "kind")
    parser.expect("by")
    parts: Parts = {"of": parser.expression(), "threshold": None, "characters": None}
    if parser.accept("with"):
        while parser.token.kind == "name":
            name = parser.identifier()
            parser.expect("=")
            parts[name] = parser.expression()
            parser.accept(",")
    return parts


def _scan(parser: Parser) -> Parts:
    options = _options(parser, "with_match_id")
    parts: Parts = options | {"partition": [], "order": [], "declare": []}
    while parser.token.kind == "name" and not parser.at("with"):
        word = parser.advance().text
        if word == "partition":
            parser.expect("by")
            parts["partition"] = parser.items()
        elif word == "order":
            parser.expect("by")
            parts["order"] = _ordering(parser)
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


_OPERATORS: dict[str, Callable[[Parser], Parts]] = {
    "where": _where,
    "filter": _where,
    "project": _items,
    "extend": _items,
    "project-away": _patterns,
    "project-keep": _patterns,
    "project-reorder": _patterns,
    "project-rename": _items,
    "project-by-names": _items,
    "summarize": _summarize,
    "distinct": _items,
    "count": _no_parts,
    "take": _take,
    "limit": _take,
    "sample": _take,
    "sample-distinct": _sample_distinct,
    "sort": _sort,
    "order": _sort,
    "top": _top,
    "top-nested": _top_nested,
    "top-hitters": _top_hitters,
    "serialize": _items,
    "join": _join,
    "lookup": _join,
    "union": _union,
    "mv-expand": _mv_items,
    "mvexpand": _mv_items,
    "mv-apply": _mv_apply,
    "mvapply": _mv_apply,
    "parse": _parse,
    "parse-where": _parse,
    "parse-kv": _parse_kv,
    "make-series": _make_series,
    "evaluate": _evaluate,
    "invoke": _invoke,
    "partition": _partition,
    "fork": _fork,
    "facet": _facet,
    "as": _as,
    "render": _render,
    "getschema": _no_parts,
    "consume": _no_parts,
    "search": _search,
    "find": _find,
    "reduce": _reduce,
    "scan": _scan,
}

_SOURCES: dict[str, Callable[[Parser], Parts]] = {
    "print": _print,
    "range": _range,
    "datatable": _datatable,
    "externaldata": _externaldata,
    "external_data": _externaldata,
}
