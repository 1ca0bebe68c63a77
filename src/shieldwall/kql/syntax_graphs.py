"""Syntax of graphs: how they are made, and the patterns that are looked for in them.

The arrows of patterns are read sign by sign: ``]-`` and ``--`` may stand in expressions too.
"""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.kql.parser import Parser
from shieldwall.kql.syntax import Expr, Name, Node, Pipeline
from shieldwall.kql.syntax_parts import Parts, read_options, reads, right_side, subquery


@dataclass(slots=True)
class PatternNode(Node):
    """``(name)``; the name may be empty."""

    name: str


@dataclass(slots=True)
class PatternEdge(Node):
    """What stands between two nodes of a pattern. ``way`` is >, <, or - for either.

    ``least`` and ``most`` are how many edges it stands for, where it may be more than one.
    """

    name: str
    way: str
    least: Expr | None = None
    most: Expr | None = None


Sequence = list[PatternNode | PatternEdge]
"""Nodes with an edge between each two of them."""


def _sign(parser: Parser, *signs: str) -> str:
    """The first of these signs that comes next, if one does; it has no blanks in it."""
    for sign in signs:
        tokens = [parser.peek(place) for place in range(len(sign))]
        together = tokens[-1].end - tokens[0].start == len(sign)
        if together and "".join(token.text for token in tokens if token.kind == "op") == sign:
            for _ in sign:
                parser.advance()
            return sign
    return ""


def _column(parser: Parser) -> Name:
    return Name(parser.token.start, parser.identifier("a column name"))


@reads("make-graph")
def _make_graph(parser: Parser) -> Parts:
    options = read_options(parser)
    source = _column(parser)
    way = _sign(parser, "-->", "--")
    if not way:
        raise parser.unexpected("'-->'")
    parts: Parts = options | {"source": source, "way": way, "target": _column(parser)}
    parts |= {"nodes": [], "with_node_id": "", "partition": None, "body": []}
    parts |= read_options(parser, "with_node_id")
    if parser.accept("with"):
        parts["nodes"] = [_node_table(parser)]
        while parser.accept(","):
            parts["nodes"].append(_node_table(parser))
    parts |= read_options(parser, "with_node_id")
    if parser.at("partitioned"):
        if parser.hyphenated() != "partitioned-by":
            raise parser.unexpected("'partitioned-by'")
        parts["partition"] = _column(parser)
        parser.expect("(")
        parts["body"] = subquery(parser)
        parser.expect(")")
    return parts


def _node_table(parser: Parser) -> tuple[Pipeline, Name]:
    """``T on Id``"""
    table = right_side(parser)
    parser.expect("on")
    return table, _column(parser)


@reads("graph-match")
def _graph_match(parser: Parser) -> Parts:
    return read_options(parser, "cycles") | _pattern(parser)


@reads("graph-shortest-paths")
def _graph_shortest_paths(parser: Parser) -> Parts:
    return read_options(parser, "output", "cycles") | _pattern(parser)


def _pattern(parser: Parser) -> Parts:
    sequences = [_sequence(parser)]
    while parser.accept(","):
        sequences.append(_sequence(parser))
    predicate = parser.condition() if parser.accept("where") else None
    parser.expect("project")
    return {"sequences": sequences, "predicate": predicate, "items": parser.items()}


def _sequence(parser: Parser) -> Sequence:
    found: Sequence = [_node(parser)]
    while (edge := _edge(parser)) is not None:
        found += (edge, _node(parser))
    return found


def _node(parser: Parser) -> PatternNode:
    at = parser.expect("(").start
    name = "" if parser.at(")") else parser.identifier()
    parser.expect(")")
    return PatternNode(at, name)


_BARE = {"-->": ">", "<--": "<", "--": "-"}
_CLOSED = {"-[": {"]->": ">", "]-": "-"}, "<-[": {"]-": "<"}}


def _edge(parser: Parser) -> PatternEdge | None:
    at = parser.token.start
    sign = _sign(parser, *_BARE, *_CLOSED)
    if not sign:
        return None
    if sign in _BARE:
        return PatternEdge(at, "", _BARE[sign])
    name = "" if parser.at("*") or parser.at("]") else parser.identifier()
    least = most = None
    if parser.accept("*"):
        least = parser._unary()
        parser.expect("..")
        most = parser._unary()
    ends = _CLOSED[sign]
    closing = _sign(parser, *ends)
    if not closing:
        raise parser.unexpected(" or ".join(f"'{end}'" for end in ends))
    return PatternEdge(at, name, ends[closing], least, most)


@reads("graph-to-table")
def _graph_to_table(parser: Parser) -> Parts:
    tables: list[Parts] = []
    while True:
        at = parser.token.start
        what = parser.accept("nodes", "edges")
        if what is None:
            raise parser.unexpected("'nodes' or 'edges'")
        ids = ("with_node_id",) if what.text == "nodes" else ("with_source_id", "with_target_id")
        table: Parts = {"at": at, "what": what.text, "as": "", "ids": []}
        given = read_options(parser, *ids)
        if parser.accept("as"):
            table["as"] = parser.identifier()
        given |= read_options(parser, *ids)
        table["ids"] = [(name, str(given[name])) for name in ids if name in given]
        tables.append(table)
        if not parser.accept(","):
            return {"tables": tables}


@reads("graph-mark-components")
def _graph_mark_components(parser: Parser) -> Parts:
    return read_options(parser, "kind", "with_component_id")
