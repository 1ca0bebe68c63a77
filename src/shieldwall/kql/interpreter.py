"""Expressions computed in Python: the part of the language that scan needs, where SQL cannot follow.

Values are as a Frame holds them. Types and nulls are Kusto's: what cannot be computed is null.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow.compute import match_substring_regex

from shieldwall.kql.errors import KqlError
from shieldwall.kql.frame import datetime_ticks, dynamic_text, ticks_datetime
from shieldwall.kql.literals import json_value, parse_text, timespan_text
from shieldwall.kql.operations import term_pattern
from shieldwall.kql.patterns import PatternError, translated
from shieldwall.kql.syntax import Between, Binary, Call, Expr, In, Index, Literal, Member, Named, Unary
from shieldwall.kql.types import NUMERIC, wider

Run = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Computed:
    """An expression: its type, and a function of the state of affairs that gives its value."""

    type: str
    run: Run


Leaf = Callable[[Expr], Computed | None]
"""What gives names, and whatever else is known already, their meaning."""


class Interpreter:
    """Makes functions of expressions."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf

    def compute(self, node: Expr) -> Computed:
        """KqlError where the expression holds what only the engine can compute."""
        if (known := self.leaf(node)) is not None:
            return known
        if isinstance(node, Binary):
            return self._binary(node)
        if isinstance(node, Unary):
            of = self.compute(node.of)
            return Computed(of.type, _strict(lambda value: -value, of))
        if isinstance(node, Between):
            return self._between(node)
        if isinstance(node, In):
            return self._in(node)
        if isinstance(node, Member):
            of = self.compute(node.of)
            return Computed("dynamic", _strict(lambda value: member(value, node.name), of))
        if isinstance(node, Index):
            of, index = self.compute(node.of), self.compute(node.index)
            return Computed("dynamic", _strict(member, of, index))
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, Named):
            return self.compute(node.value)
        raise KqlError("This cannot be computed from earlier matches.", node.at)

    def condition(self, node: Expr) -> Run:
        """Whether a condition is true; null is not."""
        found = self.compute(node)
        if found.type not in ("bool", "dynamic", *NUMERIC):
            raise KqlError(f"A condition must be a bool, not a {found.type}.", node.at, "SEM0071")
        return lambda state: bool(found.run(state))

    def _binary(self, node: Binary) -> Computed:
        op = node.op
        left, right = self.compute(node.left), self.compute(node.right)
        if op == "and":
            return Computed("bool", lambda state: bool(left.run(state)) and bool(right.run(state)))
        if op == "or":
            return Computed("bool", lambda state: bool(left.run(state)) or bool(right.run(state)))
        if op in ("+", "-", "*", "/", "%"):
            return arithmetic(op, left, right, node.at)
        if op in ("==", "!=", "<", ">", "<=", ">="):
            return _comparison(op, left, right, node.at)
        negated = op.startswith(("!", "not"))
        base = {"!~": "=~", "notcontains": "contains"}.get(op, op.removeprefix("!"))
        if (test := _TESTS.get(base)) is None:
            raise KqlError(f"'{op}' cannot be used on what earlier matches hold.", node.at)
        a, b = as_type(left, "string"), as_type(right, "string")
        return Computed("bool", lambda state: test(a.run(state), b.run(state)) is not negated)

    def _between(self, node: Between) -> Computed:
        value, low, high = self.compute(node.of), self.compute(node.low), self.compute(node.high)
        if value.type == "datetime" and high.type == "timespan":
            high = arithmetic("+", low, high, node.at)
        above = _comparison(">=", value, low, node.at).run
        below = _comparison("<=", value, high, node.at).run
        negated = node.negated
        return Computed("bool", lambda state: (bool(above(state)) and bool(below(state))) is not negated)

    def _in(self, node: In) -> Computed:
        of = self.compute(node.of)
        op = node.op.removeprefix("!")
        negated = node.op[0] == "!"
        items = [self.compute(item) for item in node.items]
        if op in ("has_any", "has_all"):
            every = all if op == "has_all" else any
            text = as_type(of, "string")

            def holds(state: Any) -> bool:
                subject = text.run(state)
                return every(_has(subject, str(item)) for item in _members(items, state)) is not negated

            return Computed("bool", holds)
        fold = op == "in~"

        def among(state: Any) -> bool:
            value = of.run(state)
            found = any(_same(value, item, fold=fold) for item in _members(items, state))
            return found is not negated

        return Computed("bool", among)

    def _call(self, node: Call) -> Computed:
        from shieldwall.kql.interpreter_functions import FUNCTIONS

        function = FUNCTIONS.get(node.name)
        if function is None:
            raise KqlError(f"{node.name}() cannot be used on what earlier matches hold.", node.at)
        return function(node, [self.compute(arg) for arg in node.args])


def _members(items: list[Computed], state: Any) -> list[Any]:
    """The values of a list; arrays among them are laid open."""
    found: list[Any] = []
    for item in items:
        value = item.run(state)
        if item.type == "dynamic" and isinstance(value, list):
            found += value
        else:
            found.append(value)
    return found


def _same(left: Any, right: Any, *, fold: bool) -> bool:
    if fold and isinstance(left, str) and isinstance(right, str):
        return left.casefold() == right.casefold()
    return (type(left) is not bool and type(right) is not bool and left == right) or left is right


def _strict(work: Callable[..., Any], *of: Computed) -> Run:
    """A function that is null where an argument is, or where it fails."""

    def run(state: Any) -> Any:
        values = [item.run(state) for item in of]
        if any(value is None for value in values):
            return None
        try:
            return work(*values)
        except (ArithmeticError, ValueError, TypeError, LookupError):
            return None

    return run


strict = _strict


def constant(kind: str, value: Any) -> Computed:
    return Computed(kind, lambda state: value)


def member(value: Any, index: Any) -> Any:
    """A member of a dynamic by key or place; null where there is none."""
    if isinstance(value, dict):
        return value.get(index)
    if isinstance(value, list) and isinstance(index, int) and -len(value) <= index < len(value):
        return value[index]
    return None


def arithmetic(op: str, left: Computed, right: Computed, at: int) -> Computed:
    left, right = _numbers(left, right), _numbers(right, left)
    a, b = left.type, right.type
    kind = ""
    if a in NUMERIC and b in NUMERIC:
        kind = wider(wider(a, b), "long")
    elif op in "+-" and {a, b} == {"datetime", "timespan"}:
        kind = "datetime"
    elif (op == "-" and a == b == "datetime") or (op in "+-%" and a == b == "timespan"):
        kind = "timespan"
    elif op == "/" and a == b == "timespan":
        kind = "real"
    elif op in "*/" and "timespan" in (a, b) and (a in NUMERIC or b in NUMERIC):
        kind = "timespan"
    if not kind:
        raise KqlError(f"Operator '{op}' does not take a {a} and a {b}.", at, "SEM0064")
    work = {
        "+": lambda x, y: x + y,
        "-": lambda x, y: x - y,
        "*": lambda x, y: x * y,
        "/": _whole_division if kind == "long" else _division,
        "%": lambda x, y: x % abs(y),
    }[op]
    if kind == "timespan" and op in "*/":
        return Computed(kind, _strict(lambda x, y: int(work(x, y)), left, right))
    return Computed(kind, _strict(work, left, right))


def _whole_division(x: int, y: int) -> int:
    found = abs(x) // abs(y)
    return found if (x < 0) is (y < 0) else -found


def _division(x: float, y: float) -> float:
    if not y:
        return float("nan") if not x else float("inf") if x > 0 else float("-inf")
    return x / y


def _numbers(value: Computed, other: Computed) -> Computed:
    if value.type == "dynamic":
        return as_type(value, other.type if other.type in (*NUMERIC, "datetime", "timespan") else "real")
    return as_type(value, "long") if value.type == "bool" else value


def _comparison(op: str, left: Computed, right: Computed, at: int) -> Computed:
    if left.type != right.type and not (left.type in NUMERIC and right.type in NUMERIC):
        if left.type == "dynamic" or right.type == "string":
            left = as_type(left, right.type)
        elif right.type == "dynamic" or left.type == "string":
            right = as_type(right, left.type)
        elif "bool" in (left.type, right.type):
            left, right = as_type(left, "long"), as_type(right, "long")
        else:
            raise KqlError(f"A {left.type} and a {right.type} cannot be compared.", at, "SEM0064")
    if op in ("==", "!="):
        equal = op == "=="

        def same(state: Any) -> bool | None:
            a, b = left.run(state), right.run(state)
            if a is None and b is None:
                return None
            return (a == b) is equal

        return Computed("bool", same)
    work: dict[str, Callable[[Any, Any], bool]] = {
        "<": lambda x, y: x < y,
        ">": lambda x, y: x > y,
        "<=": lambda x, y: x <= y,
        ">=": lambda x, y: x >= y,
    }
    return Computed("bool", _strict(work[op], left, right))


def as_type(value: Computed, kind: str) -> Computed:
    """The value converted as ``tostring``, ``tolong`` and their like do."""
    have = value.type
    if have == kind:
        return value
    return Computed(kind, lambda state: converted(value.run(state), have, kind))


def converted(value: Any, have: str, kind: str) -> Any:
    """A value of one type as one of another; null where it cannot be."""
    if value is None:
        return "" if kind == "string" else None
    if have == kind:
        return value
    if kind == "string":
        return text_of(value, have)
    if kind == "dynamic":
        return text_of(value, have) if have in ("datetime", "timespan") else value
    if have == "dynamic":
        return _from_dynamic(value, kind)
    try:
        if have == "string":
            found = parse_text(kind, value.strip())
            return datetime_ticks(found) if kind == "datetime" and found is not None else found
        if kind in ("int", "long", "datetime", "timespan"):
            return int(value)
        if kind == "real":
            return float(value)
        if kind == "bool":
            return bool(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return value


def _from_dynamic(value: Any, kind: str) -> Any:
    if isinstance(value, bool):
        return converted(value, "bool", kind)
    if isinstance(value, int):
        return converted(value, "long", kind)
    if isinstance(value, float):
        return converted(value, "real", kind)
    return converted(value, "string", kind) if isinstance(value, str) else None


def text_of(value: Any, kind: str) -> str:
    """As ``tostring`` writes it."""
    if value is None:
        return ""
    if kind == "datetime":
        return ticks_datetime(value).replace(" ", "T") + "Z"
    if kind == "timespan":
        return timespan_text(value)
    if kind == "bool":
        return "True" if value else "False"
    if kind == "dynamic":
        return value if isinstance(value, str) else dynamic_text(value)
    if kind == "real":
        return repr(value) if not value.is_integer() else f"{value:.1f}"
    return str(value)


def literal(node: Literal) -> Computed:
    """A literal's value."""
    value = node.value
    if node.type == "datetime" and value is not None:
        value = datetime_ticks(value)
    elif node.type == "dynamic":
        value = json_value(node)
    return constant(node.type, value)


def _has(subject: str, needle: str) -> bool:
    return not needle or re.search("(?i)" + term_pattern(needle), subject) is not None


def _has_cs(subject: str, needle: str) -> bool:
    return not needle or re.search(term_pattern(needle), subject) is not None


def _matches(subject: str, pattern: str) -> bool:
    """By RE2: Python's own engine may take years for a few characters, and lets nothing run meanwhile."""
    try:
        # Neither takes characters that UTF-8 cannot write.
        return bool(match_substring_regex(pa.scalar(subject), translated(pattern).text).as_py())
    except (PatternError, pa.ArrowInvalid, UnicodeEncodeError):
        return False


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "=~": lambda subject, text: subject.casefold() == text.casefold(),
    "contains": lambda subject, text: text.casefold() in subject.casefold(),
    "contains_cs": lambda subject, text: text in subject,
    "startswith": lambda subject, text: subject.casefold().startswith(text.casefold()),
    "startswith_cs": lambda subject, text: subject.startswith(text),
    "endswith": lambda subject, text: subject.casefold().endswith(text.casefold()),
    "endswith_cs": lambda subject, text: subject.endswith(text),
    "has": _has,
    "has_cs": _has_cs,
    "matches regex": _matches,
}
