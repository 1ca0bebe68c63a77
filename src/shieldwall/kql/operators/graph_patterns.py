"""Patterns in graphs: graph-match and graph-shortest-paths.

What concerns one node or edge is computed by the engine before the search, for each there is; what concerns
several, where it is a plain comparison, during the search, and else by the engine behind it, for each match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame, to_python
from shieldwall.kql.graphs.graph import SUBGRAPH, Graph
from shieldwall.kql.graphs.inputs import Questions, rows_of
from shieldwall.kql.graphs.leaves import Leaf, Splitter
from shieldwall.kql.graphs.matching import Check, Conditions, Match, Search
from shieldwall.kql.graphs.network import Budget, Network
from shieldwall.kql.graphs.pattern import Pattern, pattern_of
from shieldwall.kql.graphs.shortest import shortest
from shieldwall.kql.interpreter import Computed, Interpreter, constant
from shieldwall.kql.local import whole
from shieldwall.kql.operators.columns import listed
from shieldwall.kql.operators.graphs import graph_of
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.rows import conjuncts
from shieldwall.kql.relation import PART, Column, Condition, Relation, over
from shieldwall.kql.scope import Environment, Row
from shieldwall.kql.syntax import Between, Binary, Call, Expr, Literal, Name, Named, Operator, Unary, walk
from shieldwall.kql.values import Value

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

CYCLES = ("unique_edges", "all", "none")
_COMPARABLE = ({"string", "bool"}, {"int", "long", "real", "bool"}, {"datetime", "timespan", "bool"})
"""Types that Python compares with each other as the engine does."""
_COMPARING = frozenset(("and", "or", "==", "!=", "<", ">", "<=", ">=", "+", "-"))

Find = Callable[[Search], Iterator[Match]]
Getter = Callable[[Match], Any]
Test = tuple[frozenset[int], frozenset[int], Check]
"""A condition over several parts: the nodes and the links of the pattern, and whether a match fulfils it."""


class _Later(KqlError):
    """Something is not known before the engine computes it."""


@operator("graph-match")
def graph_match(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """A row for each match of a pattern."""
    cycles = str(node.parts.get("cycles", CYCLES[0]))
    if cycles not in CYCLES:
        raise KqlError(f"'{cycles}' is not a kind of cycles; all, none and unique_edges are.", node.at)
    matching = Matching(compiler, graph_of(relation, node), node, env)
    return matching.relation(cycles, Search.matches)


@operator("graph-shortest-paths")
def graph_shortest_paths(
    compiler: Compiler, relation: Relation, node: Operator, env: Environment
) -> Relation:
    """A row for one of the shortest paths between two nodes, or for each of them."""
    output = str(node.parts.get("output", "any"))
    if output not in ("any", "all"):
        raise KqlError(f"'{output}' is not a kind of output; any and all are.", node.at)
    if len(node.parts["sequences"]) > 1:
        raise KqlError("graph-shortest-paths takes one sequence of nodes and edges.", node.at, "SEM1023")
    matching = Matching(compiler, graph_of(relation, node), node, env, chooses=True)
    if not any(link.is_path for link in matching.pattern.links):
        raise KqlError("graph-shortest-paths takes a path, such as -[e*1..3]->.", node.at, "SEM1023")
    return matching.relation("none", lambda search: shortest(search, every=output == "all"))


class Matching:
    """One operator: its pattern, what it asks of nodes and edges, and what it makes of matches.

    If it ``chooses`` among matches, all conditions must be decided during the search.
    """

    def __init__(
        self, compiler: Compiler, graph: Graph, node: Operator, env: Environment, *, chooses: bool = False
    ) -> None:
        self.compiler = compiler
        self.graph = graph
        self.env = env
        self.pattern: Pattern = pattern_of(compiler, node.parts["sequences"], env)
        self.nodes, self.edges = Questions(), Questions()
        self.over_matches: list[Expr] = []
        """Conditions over columns of matches."""
        self._splitter = Splitter(self.pattern)
        self._chooses = chooses
        predicate: Expr | None = node.parts["predicate"]
        for part in conjuncts(predicate) if predicate is not None else ():
            self._condition(part)
        self.items = [self._item(item) for item in node.parts["items"]]
        for leaf in self._splitter.leaves:
            (self.nodes if leaf.of_nodes else self.edges).leaves.append(leaf)
        links = range(len(self.pattern.links))
        self.edges.filtered = all(("link", number) in self.edges.conditions for number in links)

    def _condition(self, node: Expr) -> None:
        pattern = self.pattern
        if (inner := self._splitter.inner_condition(node)) is not None:
            path, body, of_nodes = inner
            number = pattern.edges[path]
            if of_nodes:
                self.nodes.ask(("inner", number), "", body)
            else:
                self.edges.ask(("link", number), "", body)
            return
        part, owner = self._splitter.condition(node)
        if not owner:
            self.over_matches.append(part)
        elif owner in pattern.nodes:
            self.nodes.ask(("node", pattern.nodes[owner]), owner, part)
        else:
            variable = "" if pattern.is_path(owner) else owner
            self.edges.ask(("link", pattern.edges[owner]), variable, part)

    def _item(self, node: Expr) -> Expr:
        if isinstance(node, Named):
            return replace(node, value=self._splitter.value(node.value))
        return self._splitter.value(node)

    def _asked_of_nodes(self) -> Questions | None:
        """What is asked of nodes; None where their ids, as edges have them, are enough."""
        pattern, conditions = self.pattern, self.nodes.conditions
        needed = {
            ("inner", pattern.edges[leaf.variable]) if leaf.how else ("node", pattern.nodes[leaf.variable])
            for leaf in self.nodes.leaves
        }
        for node in range(pattern.size):
            # One without edges is known by its row alone.
            if not any(node in (link.left, link.right) and link.least for link in pattern.links):
                needed.add(("node", node))
        if not needed and not conditions:
            return None
        self.nodes.filtered = needed <= conditions.keys()
        return self.nodes

    def relation(self, cycles: str, find: Find) -> Relation:
        """The rows that project makes of the matches."""
        rows = rows_of(self.compiler, self.graph, self.edges, self._asked_of_nodes(), self.env)
        checks, late = self._checks()
        conditions = self._conditions(checks)
        leaves = self._used([*late, *self.items])
        columns = [(leaf.name, self._type(leaf)) for leaf in leaves]
        getters: dict[str, Getter] = {leaf.name: self._getter(leaf) for leaf in leaves}
        if self.graph.partitioned:
            kind = next(column.type for column in self.graph.edges.columns if column.name == SUBGRAPH)
            columns.append((f"{PART}0", kind))
            getters[f"{PART}0"] = lambda match: match.network.subgraphs[match.nodes[0]]
        if not columns:
            columns.append(("$match", "long"))
            getters["$match"] = lambda match: 0

        def run(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
            network = Network(frames[0], self.edges.width, partitioned=self.graph.partitioned)
            budget = Budget()
            shown = [getters[name] for name in wanted]
            found: list[list[Any]] = []
            for match in find(Search(network, self.pattern, conditions, cycles, budget)):
                budget.match()
                found.append([getter(match) for getter in shown])
            return found

        return self._projected(whole(self.compiler, [rows], columns, run), late)

    def _projected(self, matches: Relation, late: list[Expr]) -> Relation:
        names = {leaf.name: name for leaf, name in (*self.edges.names.items(), *self.nodes.names.items())}

        def over_matches(binder: Binder) -> Binder:
            return Binder(self.compiler, self.env, _Matches(binder.row, names), local=binder.local)

        def tested(binder: Binder) -> list[Value]:
            return [over_matches(binder).boolean(node) for node in late]

        def shown(binder: Binder) -> list[Column]:
            return listed(over_matches(binder), self.items)

        found, conditions = self.compiler.bind_into(over(matches), self.env, tested, inline=True)
        found.where += [Condition(value.condition, value.deps) for value in conditions]
        found, columns = self.compiler.bind_into(found, self.env, shown, inline=True)
        parts = [column for column in found.columns if column.name.startswith(PART)]
        found.columns = [*columns, *parts]
        return found

    def _type(self, leaf: Leaf) -> str:
        return (self.nodes if leaf.of_nodes else self.edges).types[leaf]

    def _used(self, nodes: list[Expr]) -> list[Leaf]:
        """The leaves that expressions over columns of matches name."""
        names = {item.name for item in walk(nodes) if isinstance(item, Name)}
        return [leaf for leaf in self._splitter.leaves if leaf.name in names]

    # During the search

    def _conditions(self, checks: list[Test]) -> Conditions:
        links = range(len(self.pattern.links))
        nodes, edges = self.nodes.places, self.edges.places
        return Conditions(
            [nodes.get(("node", number)) for number in range(self.pattern.size)],
            [edges.get(("link", number)) for number in links],
            [nodes.get(("inner", number)) for number in links],
            checks,
        )

    def _checks(self) -> tuple[list[Test], list[Expr]]:
        """The conditions over matches that the search itself decides, and those left to the engine."""
        checks: list[Test] = []
        late: list[Expr] = []
        for node in self.over_matches:
            leaves = self._used([node])
            check = self._decided(node) if self._chooses else self._compared(node, leaves)
            if check is None:
                late.append(node)
                continue
            edges, nodes = self.pattern.edges, self.pattern.nodes
            of_nodes = frozenset(nodes[leaf.variable] for leaf in leaves if leaf.of_nodes and not leaf.how)
            of_links = frozenset(edges[leaf.variable] for leaf in leaves if leaf.how or not leaf.of_nodes)
            checks.append((of_nodes, of_links, check))
        return checks, late

    def _compared(self, node: Expr, leaves: list[Leaf]) -> Check | None:
        """A condition that Python decides just as the engine does; None if it is no such one."""
        kinds = {self._type(leaf) for leaf in leaves}
        for item in walk(node):
            if isinstance(item, Literal):
                kinds.add(item.type)
            elif isinstance(item, Binary):
                if item.op not in _COMPARING:
                    return None
            elif not isinstance(item, Name | Unary | Between) and not (
                isinstance(item, Call) and item.name == "not"
            ):
                return None
        if not any(kinds <= group for group in _COMPARABLE):
            return None
        try:
            return Interpreter(self._known).condition(node)
        except _Later:
            return None

    def _decided(self, node: Expr) -> Check:
        """Any condition that Python can decide."""
        try:
            return Interpreter(self._known).condition(node)
        except KqlError:
            raise KqlError(
                "graph-shortest-paths cannot decide about several parts of its pattern in this way.", node.at
            ) from None

    def _known(self, node: Expr) -> Computed | None:
        """What the search knows of an expression without looking into it."""
        if not (used := self._used([node])):
            value = Binder(self.compiler, self.env).bind(node)
            if not value.is_constant:
                raise _Later("This is not known during the search.", node.at)
            return constant(value.type, to_python(value.type, value.constant))
        if isinstance(node, Name):
            return Computed(self._type(used[0]), self._getter(used[0]))
        return None

    def _getter(self, leaf: Leaf) -> Getter:
        """What gives the value of a leaf for a match."""
        place = (self.nodes if leaf.of_nodes else self.edges).places[leaf]
        if not leaf.how:
            if leaf.of_nodes:
                return _of_node(self.pattern.nodes[leaf.variable], place)
            return _of_edge(self.pattern.edges[leaf.variable], place)
        values = _of_path(self.pattern.edges[leaf.variable], place, inner=leaf.of_nodes)
        if leaf.how == "map":
            return values
        return (lambda match: all(values(match))) if leaf.how == "all" else (lambda match: any(values(match)))


def _of_node(node: int, place: int) -> Getter:
    def value(match: Match) -> Any:
        row = match.network.node_rows[match.nodes[node]]
        return row[place] if row is not None else None

    return value


def _of_edge(link: int, place: int) -> Getter:
    return lambda match: match.network.edge_rows[match.edges[link]][place]


def _of_path(link: int, place: int, *, inner: bool) -> Getter:
    """The values of all edges or inner nodes of a path."""

    def of_edges(match: Match) -> list[Any]:
        return [match.network.edge_rows[edge][place] for edge in match.paths[link][0]]

    def of_nodes(match: Match) -> list[Any]:
        rows = (match.network.node_rows[node] for node in match.paths[link][1])
        return [row[place] if row is not None else None for row in rows]

    return of_nodes if inner else of_edges


class _Matches(Row):
    """The columns of matches, with the names that columns get which are made of them."""

    def __init__(self, row: Row, shown: dict[str, str]) -> None:
        super().__init__((), row.alias, row.order)
        self._row = row
        self._shown = shown

    def column(self, name: str) -> Value | None:
        found = self._row.column(name)
        return replace(found, name=self._shown[name]) if found is not None and name in self._shown else None
