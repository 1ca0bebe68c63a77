"""scan: sequences of rows that match steps one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame, to_python
from shieldwall.kql.interpreter import Computed, Interpreter, Run, constant, converted
from shieldwall.kql.local import local
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.operators.rows import sort_keys
from shieldwall.kql.relation import Column, Relation, SortKey, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Expr, Member, Name, Named, Operator, walk
from shieldwall.kql.values import Value, convert

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

_PLACE = "$scanned"


@dataclass(slots=True)
class Declared:
    """A column that scan adds; its value is the default's where no step assigns another."""

    name: str
    type: str
    default: Any


@dataclass(slots=True)
class Step:
    name: str
    output: str
    optional: bool
    condition: Expr
    assigned: list[tuple[str, Expr]]
    """Declared columns with what they become."""


@dataclass(slots=True)
class Match:
    """The state of a step: the last rows of it and of the steps before, and the number of the sequence."""

    rows: dict[int, dict[str, Any]]
    number: int


@dataclass(slots=True)
class State:
    """What expressions of a step see: the row, and the rows that the steps of the sequence matched last."""

    row: Sequence[Any]
    own: dict[str, Any]
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)


class Scan:
    """One scan operator: its steps, and what their expressions need of each row."""

    def __init__(self, steps: list[Step], declared: list[Declared], columns: dict[str, str]) -> None:
        self.steps = steps
        self.declared = {item.name: item for item in declared}
        self.columns = columns
        self.numbers = {step.name: number for number, step in enumerate(steps)}
        self.in_rows: list[Expr] = []
        """Expressions over the row alone, which SQL computes."""
        self.values: list[Value] = []
        self.read: set[str] = set()
        """Columns of earlier rows that expressions read."""
        for step in steps:
            for expression in (step.condition, *(value for _, value in step.assigned)):
                self._collect(expression)

    def _of_step(self, node: Expr) -> tuple[int, str] | None:
        """The step and column that ``step.column`` names."""
        if isinstance(node, Member) and isinstance(node.of, Name) and node.of.name in self.numbers:
            if node.name not in self.columns and node.name not in self.declared:
                raise KqlError(f"There is no column '{node.name}' to read from a step.", node.at, "SEM0100")
            return self.numbers[node.of.name], node.name
        return None

    def _of_row(self, node: Expr) -> bool:
        """Whether an expression needs nothing but the row."""
        return not any(
            isinstance(item, Name) and (item.name in self.numbers or item.name in self.declared)
            for item in walk(node)
        )

    def _collect(self, node: Expr) -> None:
        if (found := self._of_step(node)) is not None:
            self.read.add(found[1])
        elif self._of_row(node):
            self.in_rows.append(node)
        else:
            for name in type(node).__slots__:
                part = getattr(node, name)
                for item in part if isinstance(part, list) else (part,):
                    if hasattr(item, "at"):
                        self._collect(item)

    def computed(self, place: Callable[[int], int]) -> list[tuple[Run, list[tuple[str, str, Computed]]]]:
        """For each step its condition, and its assignments; ``place`` is where a row holds a value."""
        numbers = {id(node): number for number, node in enumerate(self.in_rows)}

        def leaf(node: Expr) -> Computed | None:
            if (found := self._of_step(node)) is not None:
                return self._from_state(*found)
            if isinstance(node, Name) and node.name in self.declared:
                name = node.name
                return Computed(self.declared[name].type, lambda state: state.own[name])
            if (number := numbers.get(id(node))) is None:
                return None
            value = self.values[number]
            if value.is_constant:
                return constant(value.type, to_python(value.type, value.constant))
            at = place(number)
            return Computed(value.type, lambda state: state.row[at])

        interpreter = Interpreter(leaf)
        return [
            (
                interpreter.condition(step.condition),
                [
                    (name, self.declared[name].type, interpreter.compute(value))
                    for name, value in step.assigned
                ],
            )
            for step in self.steps
        ]

    def _from_state(self, step: int, name: str) -> Computed:
        if (declared := self.declared.get(name)) is not None:
            kind, default = declared.type, declared.default
        else:
            kind = self.columns[name]
            default = "" if kind == "string" else None

        def run(state: State) -> Any:
            return row[name] if (row := state.rows.get(step)) is not None else default

        return Computed(kind, run)


@operator("scan")
def scan(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """A row for each match of a row with a step."""
    from shieldwall.kql.compiler import type_named

    if node.parts["order"]:
        relation = sort_keys(compiler, relation, node.parts["order"], env)
    declared = [
        Declared(
            item.name,
            kind := type_named(item.type, item.at),
            _default(compiler, item.default, kind, env),
        )
        for item in node.parts["declare"]
    ]
    steps = _steps(node, {item.name for item in declared})
    columns = {column.name: column.type for column in relation.columns}
    work = Scan(steps, declared, columns)

    def bind(binder: Binder) -> tuple[list[Value], list[Value]]:
        return [binder.bind(item) for item in work.in_rows], [
            binder.bind(item) for item in node.parts["partition"]
        ]

    below, (work.values, keys) = compiler.bind_into(relation, env, bind)
    if below is relation:
        below, (work.values, keys) = compiler.bind_into(over(relation), env, bind)
    # What Python cannot compute is told now, not when rows come.
    work.computed(lambda number: 0)
    shown = list(below.columns)
    computed = [
        Column(f"$scan{number}", value.type, value.sql, value.deps)
        for number, value in enumerate(work.values)
        if not value.is_constant
    ]
    parts = [Column(f"$by{number}", value.type, value.sql, value.deps) for number, value in enumerate(keys)]
    below.columns += [*computed, *parts]
    always = frozenset([*computed, *parts, *(column for column in shown if column.name in work.read)])
    given = [Column(column.name, column.type, deps=always | {column}) for column in shown]
    given += [Column(item.name, item.type, deps=always) for item in declared]
    if match_id := node.parts.get("with_match_id"):
        given.append(Column(str(match_id), "long", deps=always))
    given.append(Column(_PLACE, "long", deps=always))

    def run(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        return _run(work, frames[0], [part.name for part in parts], wanted, str(match_id or ""))

    found = over(local(compiler, [below], given, run))
    order = found.columns.pop()
    found.order = [SortKey(order.sql, order.deps, False, False)]
    return found


def _default(compiler: Compiler, node: Expr | None, kind: str, env: Environment) -> Any:
    if node is None:
        return "" if kind == "string" else None
    value = convert(Binder(compiler, env).bind(node), kind, node.at)
    if not value.is_constant:
        raise KqlError("The default of a column of scan must be constant.", node.at)
    return to_python(kind, value.constant)


def _steps(node: Operator, declared: set[str]) -> list[Step]:
    steps: list[Step] = []
    for part in node.parts["steps"]:
        if any(step.name == part["name"] for step in steps):
            raise KqlError(f"There are two steps named '{part['name']}'.", node.at)
        if part["output"] not in ("all", "last", "none"):
            raise KqlError(f"'{part['output']}' is not a kind of output; all, last and none are.", node.at)
        assigned: list[tuple[str, Expr]] = []
        for item in part["assign"]:
            if not isinstance(item, Named) or item.several:
                raise KqlError("A step assigns values as column = value.", item.at)
            if item.names[0] not in declared:
                raise KqlError(f"'{item.names[0]}' is not a declared column of scan.", item.at)
            assigned.append((item.names[0], item.value))
        steps.append(Step(part["name"], part["output"], part["optional"], part["condition"], assigned))
    if not steps:
        raise KqlError("scan needs a step.", node.at)
    return steps


def _run(work: Scan, frame: Frame, keys: list[str], wanted: Sequence[str], match_id: str) -> list[list[Any]]:
    places = frame.places()
    program = work.computed(lambda number: places[f"$scan{number}"])
    by = [places[name] for name in keys]
    groups: dict[Any, list[list[Any]]] = {}
    for row in frame.rows:
        groups.setdefault(tuple(repr(row[place]) for place in by), []).append(row)
    found: list[list[Any]] = []
    for rows in groups.values():
        for row, own, number in _matches(work, program, places, rows):
            values: list[Any] = []
            for name in wanted:
                if name in own:
                    values.append(own[name])
                elif name == _PLACE:
                    values.append(len(found))
                elif name == match_id:
                    values.append(number)
                else:
                    values.append(row[places[name]])
            found.append(values)
    return found


def _matches(
    work: Scan, program: list[Any], places: dict[str, int], rows: Iterable[list[Any]]
) -> list[tuple[list[Any], dict[str, Any], int]]:
    """Rows that matched, with the values of the declared columns and the numbers of their sequences."""
    found: list[tuple[list[Any], dict[str, Any], int]] = []
    steps = work.steps
    states: list[Match | None] = [None] * len(steps)
    held: dict[int, tuple[list[Any], dict[str, Any], int]] = {}
    defaults = {name: item.default for name, item in work.declared.items()}
    kept = [(name, places[name]) for name in work.read if name in places and name not in defaults]
    sequence = 0

    def released(number: int) -> None:
        if (last := held.pop(number, None)) is not None:
            found.append(last)

    def matched(number: int, row: list[Any], state: State, match: Match) -> None:
        for name, kind, value in program[number][1]:
            state.own[name] = converted(value.run(state), value.type, kind)
        match.rows[number] = {**state.own, **{name: row[place] for name, place in kept}}
        shown = (row, state.own, match.number)
        if steps[number].output == "all":
            found.append(shown)
        elif steps[number].output == "last":
            held[number] = shown

    for row in rows:
        for number in range(len(steps) - 1, -1, -1):
            condition = program[number][0]
            before = _before(steps, states, number)
            if before is not None:
                earlier = states[before]
                assert earlier is not None
                state = State(row, dict(defaults), earlier.rows)
                if condition(state):
                    released(before)
                    released(number)
                    states[before], states[number] = None, earlier
                    matched(number, row, state, earlier)
                    continue
            current = states[number]
            if current is None and not _may_begin(steps, number):
                continue
            match = current or Match({}, sequence)
            state = State(row, dict(defaults), match.rows)
            if condition(state):
                if current is None:
                    states[number] = match
                    sequence += 1
                matched(number, row, state, match)
    for number in sorted(held):
        released(number)
    return found


def _before(steps: list[Step], states: list[Match | None], number: int) -> int | None:
    """The step before, or one further back if those between are optional, that has an active sequence."""
    for earlier in range(number - 1, -1, -1):
        if states[earlier] is not None:
            return earlier
        if not steps[earlier].optional:
            return None
    return None


def _may_begin(steps: list[Step], number: int) -> bool:
    return all(step.optional for step in steps[:number])
