"""parse and parse-where: columns of what stands between known texts.

A pattern becomes one regular expression with a group for each column.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.patterns import compiled, escaped
from shieldwall.kql.relation import Column, Condition, Relation, Select, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Literal, Operator, Star
from shieldwall.kql.values import Value, convert, to_string

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

GROUPS = "$parsed"
"""The hidden column of an Array(String) that holds what the groups of a pattern matched."""
_NUMBER = r"[+-]?(?:0[xX][0-9a-fA-F]+|\d+)"
_REAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
_TYPED = {
    "int": _NUMBER,
    "long": _NUMBER,
    "real": _REAL,
    "decimal": _REAL,
    "bool": "(?i:true|false)|[01]",
    "guid": r"\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?",
    "datetime": rf"{_DATE}(?:[T ]+{_CLOCK}(?:\s*[AaPp][Mm])?)?(?:Z|[+-]\d{{2}}:?\d{{2}})?",
    "timespan": rf"-?(?:\d+\.)?{_CLOCK}|-?\d+(?:\.\d+)?\s*[a-z]+",
    "dynamic": ".*",
}
"""What a value of a type looks like where no known text ends it."""
_FLAGS = frozenset("imsUuxR")


@dataclass(slots=True)
class Capture:
    """A column of the pattern, with the number of its group."""

    name: str
    kind: str
    group: int


@dataclass(slots=True)
class Pattern:
    text: str = ""
    groups: int = 0
    captures: list[Capture] = field(default_factory=list)


@operator("parse", "parse-where")
def parse(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    kind = node.parts.get("kind", "simple")
    if kind not in ("simple", "regex", "relaxed"):
        raise KqlError(f"'{kind}' is not a kind of {node.name}: simple, regex and relaxed are.", node.at)
    pattern = regex_pattern(node) if kind == "regex" else plain_pattern(node, relaxed=kind == "relaxed")
    regex = sql.quote(compiled(pattern.text, node.at).text)
    below, subject = compiler.bind_into(
        relation, env, lambda binder: to_string(binder.bind(node.parts["of"])), inline=True
    )
    only_matches = node.name == "parse-where"
    if not pattern.captures:
        if only_matches:
            below.where.append(Condition(f"match({subject.sql}, {regex})", subject.deps))
        return below
    groups = Column(GROUPS, "dynamic", f"extractGroups({subject.sql}, {regex})", subject.deps)
    below.hidden.append(groups)
    if kind != "relaxed" and any(capture.kind != "string" for capture in pattern.captures):
        return _strict(below, groups, pattern.captures, only_matches=only_matches)
    select = over(below)
    for capture in pattern.captures:
        value = captured(capture, groups)
        put_column(select, Column(capture.name, capture.kind, value.sql, value.deps))
    if only_matches:
        select.where.append(Condition(f"notEmpty({sql.ref(GROUPS)})", frozenset((groups,))))
    return select


def _strict(below: Select, groups: Column, captures: list[Capture], *, only_matches: bool) -> Select:
    """The columns where all of them are of their types; else null, or no row."""
    middle = over(below)
    values: list[Column] = []
    for place, capture in enumerate(captures):
        value = captured(capture, groups)
        values.append(Column(f"{GROUPS}{place}", capture.kind, value.sql, value.deps))
    middle.hidden += values
    select = over(middle)
    typed = [column for column in values if column.type != "string"]
    fits = " AND ".join(
        f"{sql.ref(column.name)} != ''" if column.type == "dynamic" else f"isNotNull({sql.ref(column.name)})"
        for column in typed
    )
    if only_matches:
        select.where.append(Condition(f"({fits})", frozenset(typed)))
    for capture, column in zip(captures, values, strict=True):
        text = sql.ref(column.name)
        if not only_matches:
            text = f"if({fits}, {text}, {sql.null(column.type)})"
        put_column(select, Column(capture.name, capture.kind, text, frozenset((column, *typed))))
    return select


def put_column(select: Select, column: Column) -> None:
    """Add a column, in the place of the one of its name if there is one."""
    for place, other in enumerate(select.columns):
        if other.name == column.name:
            select.columns[place] = column
            return
    select.columns.append(column)


def captured(capture: Capture, groups: Column) -> Value:
    """What a group matched as a value of its type."""
    text = Value("string", f"{sql.ref(groups.name)}[{capture.group}]", frozenset((groups,)))
    return typed_text(text, capture.kind)


def typed_text(text: Value, kind: str) -> Value:
    """Text as a value of a type, without blanks around it; null if it is none."""
    if kind == "string":
        return text
    trimmed = f"trimBoth({text.sql}, ' \\t\\r\\n')"
    if kind == "dynamic":
        cases = f"isValidJSON({trimmed}), JSONExtractRaw({trimmed}), toJSONString({trimmed})"
        return Value("dynamic", f"multiIf({trimmed} = '', '', {cases})", text.deps)
    return convert(Value("string", trimmed, text.deps), kind)


def plain_pattern(node: Operator, *, relaxed: bool) -> Pattern:
    """The pattern with its texts as they are: what lies between them is as short as it may be."""
    from shieldwall.kql.compiler import type_named

    items: list[Any] = node.parts["pattern"]
    found = Pattern("(?s)" if isinstance(items[0], Star) else r"(?s)\A")
    for place, item in enumerate(items):
        following = items[place + 1] if place + 1 < len(items) else None
        if isinstance(item, Star):
            if place and following is not None:
                found.text += ".*?"
        elif isinstance(item, Literal):
            found.text += escaped(_text(item))
        else:
            name, kind = item[0], type_named(item[1], node.at)
            found.groups += 1
            found.captures.append(Capture(name, kind, found.groups))
            found.text += _between(kind, following, relaxed=relaxed)
    if not isinstance(items[-1], Star):
        found.text += r"\z"
    return found


def _between(kind: str, following: Any, *, relaxed: bool) -> str:
    """The group of a column, by what comes behind it."""
    if isinstance(following, Literal):
        return "(.*?)"
    if following is None and (relaxed or kind == "string"):
        return "(.*)"
    if kind == "string":
        return "(.*?)"
    group = rf"\s*({_TYPED[kind]})\s*"
    return f"(?:{group})?" if relaxed else group


def regex_pattern(node: Operator) -> Pattern:
    """The pattern with its texts as regular expressions, found anywhere; what lies between them is long."""
    from shieldwall.kql.compiler import type_named

    flags = str(node.parts.get("flags", ""))
    if not set(flags) <= _FLAGS:
        raise KqlError(f"'{flags}' are not flags of a regular expression.", node.at)
    items: list[Any] = node.parts["pattern"]
    found = Pattern(f"(?{flags})" if flags else "")
    for place, item in enumerate(items):
        if isinstance(item, Star):
            if 0 < place < len(items) - 1:
                found.text += ".*?"
        elif isinstance(item, Literal):
            text = _text(item)
            found.groups += compiled(text, item.at).groups
            found.text += f"(?:{text})"
        else:
            name, kind = item[0], type_named(item[1], node.at)
            found.groups += 1
            found.captures.append(Capture(name, kind, found.groups))
            following = items[place + 1] if place + 1 < len(items) else None
            found.text += _matching(kind, following)
    return found


def _matching(kind: str, following: Any) -> str:
    if kind in ("int", "long", "real", "decimal", "bool", "guid"):
        return f"({_TYPED[kind]})"
    if kind != "string" and not isinstance(following, Literal | None):
        return f"({_TYPED[kind]})"
    return "(.*)"


def _text(item: Literal) -> str:
    if item.type != "string":
        raise KqlError("A pattern holds strings, names of columns and stars.", item.at)
    return str(item.value)
