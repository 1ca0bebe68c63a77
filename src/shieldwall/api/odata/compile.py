"""Turns the tree of a ``$filter`` into one SQLAlchemy condition; every value of it becomes a parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    String,
    and_,
    exists,
    extract,
    false,
    func,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy import literal as sql_literal

from shieldwall import times
from shieldwall.api.odata.errors import odata_error
from shieldwall.api.odata.fields import Column, EntitySet, Field, JsonList, Kind, Rows
from shieldwall.api.odata.parser import with_offset
from shieldwall.api.odata.tree import (
    Call,
    Comparison,
    Expression,
    Lambda,
    Literal,
    Logical,
    Membership,
    Not,
    Path,
    Value,
)

Condition = ColumnElement[bool]

CLICKHOUSE = "clickhouse"
"""The dialect of rows that are in the telemetry."""

_MIRRORED = {"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
_ORDERED: dict[str, Callable[[Column, Any], Condition]] = {
    "gt": lambda column, value: column > value,
    "ge": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "le": lambda column, value: column <= value,
}
_TIME_PARTS = frozenset({"year", "month", "day", "hour", "minute", "second"})
_TEXT_KINDS = frozenset({Kind.TEXT, Kind.EXACT, Kind.LOWER, Kind.CHOICE})
_INTEGER_LIMIT = 2**63


@dataclass(frozen=True)
class _Scope:
    """What names mean at one place of the tree: the collection's properties, or a lambda's variable."""

    entity: EntitySet
    dialect: str
    variable: str | None = None
    element: Mapping[str, Field] | None = None


def compile_filter(tree: Expression, entity: EntitySet, dialect: str) -> Condition:
    """The condition of ``tree`` over ``entity`` for the SQL of ``dialect``; ApiError ``ODataError``."""
    return _condition(tree, _Scope(entity, dialect))


def _condition(tree: Expression, scope: _Scope) -> Condition:
    match tree:
        case Logical(operator, operands):
            parts = [_condition(operand, scope) for operand in operands]
            return and_(*parts) if operator == "and" else or_(*parts)
        case Not(operand):
            # A comparison with null is false, not unknown: so its negation is true.
            return not_(func.coalesce(_condition(operand, scope), false()))
        case Comparison(operator, left, right):
            return _comparison(operator, left, right, scope)
        case Membership(item, values):
            return or_(false(), *(_comparison("eq", item, value, scope) for value in values))
        case Lambda():
            return _lambda(tree, scope)
        case Call(name, arguments) if name in ("contains", "startswith", "endswith"):
            return _text_search(name, arguments, scope)
        case Literal(value) if isinstance(value, bool):
            return true() if value else false()
        case Path():
            field = _field(tree, scope)
            if field.kind is Kind.FLAG:
                return field.column.is_(True)
            raise odata_error(f"The property '{field.name}' is not a condition.")
    raise odata_error("The expression is not a condition.")


def _comparison(operator: str, left: Expression, right: Expression, scope: _Scope) -> Condition:
    if isinstance(left, Literal) and not isinstance(right, Literal):
        left, right, operator = right, left, _MIRRORED[operator]
    if isinstance(left, Path) and (found := _list(left, scope)) is not None:
        return _list_comparison(operator, found, right, scope)
    if not isinstance(right, Literal):
        if right == left:
            raise odata_error("A property cannot be compared with itself.")
        raise odata_error("A property can be compared with a constant only.")
    if isinstance(left, Literal):
        raise odata_error("Two constants cannot be compared.")
    if isinstance(left, Call) and left.name == "date":
        return _date_comparison(operator, _argument(left, scope, Kind.TIME), right.value)
    field = _value(left, scope)
    return compare(field, operator, right.value)


def compare(field: Field, operator: str, value: Value) -> Condition:
    """``field operator value`` with the meaning that the field's kind gives it."""
    if value is None:
        if operator in ("eq", "ne"):
            return field.column.is_(None) if operator == "eq" else field.column.is_not(None)
        return false()
    if operator in _ORDERED:
        if field.kind in (Kind.CHOICE, Kind.FLAG):
            raise odata_error(f"'{operator}' cannot be used with '{field.name}'.")
        return _ORDERED[operator](field.column, literal(field, value))
    column: Column = field.column
    meant = literal(field, value)
    if field.kind is Kind.TEXT:
        column, meant = func.lower(column), func.lower(sql_literal(meant, String))
    # Null is unlike any value, which SQL's own <> does not say.
    return column == meant if operator == "eq" else or_(column != meant, column.is_(None))


def literal(field: Field, value: Value) -> Any:
    """``value`` as the field's column holds it; ApiError ``ODataError`` where it cannot."""
    kind = field.kind
    if kind in _TEXT_KINDS:
        text = value if isinstance(value, str) else _plain(value)
        if kind is Kind.LOWER:
            return text.lower()
        if kind is Kind.CHOICE:
            kept = field.words.get(text.lower())
            return kept or next((choice for choice in field.choices if choice.lower() == text.lower()), text)
        return text
    if kind is Kind.TIME and isinstance(value, str):
        try:
            return times.parse(with_offset(value))
        except ValueError:
            raise _mismatch(field, value) from None
    if kind is Kind.NUMBER and isinstance(value, str):
        return _number(field, value)
    if kind is Kind.FLAG and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind is Kind.NUMBER and isinstance(value, int | float) and not isinstance(value, bool):
        return _bounded(field, value)
    if (kind is Kind.TIME and isinstance(value, datetime)) or (kind is Kind.FLAG and isinstance(value, bool)):
        return value
    raise _mismatch(field, value)


def _number(field: Field, text: str) -> int | float:
    try:
        return _bounded(field, int(text) if text.lstrip("-").isdecimal() else float(text))
    except (ValueError, OverflowError):
        raise _mismatch(field, text) from None


def _bounded(field: Field, value: int | float) -> int | float:
    if not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise _mismatch(field, value)
    return value


def _mismatch(field: Field, value: object) -> Exception:
    return odata_error(f"The value '{str(value)[:80]}' does not fit the property '{field.name}'.")


def _plain(value: Value) -> str:
    if isinstance(value, datetime):
        return times.to_text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_search(name: str, arguments: tuple[Expression, ...], scope: _Scope) -> Condition:
    if len(arguments) != 2 or not isinstance(arguments[1], Literal):
        raise odata_error(f"{name} takes a property and a constant.")
    wanted = _plain(arguments[1].value)
    if isinstance(arguments[0], Path) and (found := _list(arguments[0], scope)) is not None:
        return _any(found, scope, lambda element: _matches(name, _only(element, found.name), wanted, scope))
    return _matches(name, _value(arguments[0], scope), wanted, scope)


def _matches(name: str, field: Field, wanted: str, scope: _Scope) -> Condition:
    if field.kind not in _TEXT_KINDS:
        raise odata_error(f"{name} cannot be used with '{field.name}'.")
    if scope.dialect == CLICKHOUSE:
        # Its LIKE knows no ESCAPE.
        text, part = func.lowerUTF8(field.column), func.lowerUTF8(sql_literal(wanted, String))
        if name == "contains":
            return func.position(text, part) > 0
        return (func.startsWith if name == "startswith" else func.endsWith)(text, part, type_=Boolean)
    if name == "contains":
        return field.column.icontains(wanted, autoescape=True)
    if name == "startswith":
        return field.column.istartswith(wanted, autoescape=True)
    return field.column.iendswith(wanted, autoescape=True)


def _date_comparison(operator: str, field: Field, value: Value) -> Condition:
    """``date(x) eq 2026-01-01`` as a range of ``x``, which an index serves."""
    start = literal(field, value)
    if not isinstance(start, datetime):
        return compare(field, operator, None)
    start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        end = start + timedelta(days=1)
    except OverflowError:
        raise _mismatch(field, value) from None
    column = field.column
    match operator:
        case "eq":
            return and_(column >= start, column < end)
        case "ne":
            return or_(column < start, column >= end, column.is_(None))
        case "gt" | "le":
            return column >= end if operator == "gt" else column < end
    return column >= start if operator == "ge" else column < start


def _value(tree: Expression, scope: _Scope) -> Field:
    """A property, or a function of one, as a field that can be compared."""
    if isinstance(tree, Path):
        return _field(tree, scope)
    if not isinstance(tree, Call):
        raise odata_error("A property was expected.")
    if tree.name in ("tolower", "toupper", "trim"):
        # Texts are compared without regard to case anyhow.
        return _argument(tree, scope, *_TEXT_KINDS)
    if tree.name == "length":
        field = _argument(tree, scope, *_TEXT_KINDS)
        return Field(field.name, Kind.NUMBER, func.length(field.column))
    if tree.name in _TIME_PARTS:
        field = _argument(tree, scope, Kind.TIME)
        return Field(field.name, Kind.NUMBER, extract(tree.name, field.column))
    raise odata_error(f"There is no function '{tree.name[:80]}' here.")


def _argument(call: Call, scope: _Scope, *kinds: Kind) -> Field:
    if len(call.arguments) != 1:
        raise odata_error(f"{call.name} takes one property.")
    field = _value(call.arguments[0], scope)
    if field.kind not in kinds:
        raise odata_error(f"{call.name} cannot be used with '{field.name}'.")
    return field


def _field(path: Path, scope: _Scope) -> Field:
    names = path.names
    if scope.element is not None and names[0] == scope.variable:
        found = scope.element.get("/".join(names[1:]).lower())
        if found is None:
            raise odata_error(f"Could not find a property named '{'/'.join(names)[:80]}'.")
        return found
    return scope.entity.field("/".join(names))


def _list(path: Path, scope: _Scope) -> Rows | JsonList | None:
    return None if path.names[0] == scope.variable else scope.entity.list("/".join(path.names))


def _list_comparison(operator: str, found: Rows | JsonList, right: Expression, scope: _Scope) -> Condition:
    """``machineTags eq 'x'``, which clients write for "has"."""
    if operator not in ("eq", "ne") or not isinstance(right, Literal):
        raise odata_error(f"'{found.name}' is a list: use any or all.")
    has = _any(found, scope, lambda element: compare(_only(element, found.name), "eq", right.value))
    return has if operator == "eq" else not_(has)


def _only(element: Mapping[str, Field], name: str) -> Field:
    if "" not in element:
        raise odata_error(f"'{name}' is a list of objects: use any or all.")
    return element[""]


def _lambda(tree: Lambda, scope: _Scope) -> Condition:
    if scope.element is not None:
        raise odata_error("any and all cannot be nested.")
    found = _list(tree.collection, scope)
    if found is None:
        raise odata_error(f"Could not find a list named '{'/'.join(tree.collection.names)[:80]}'.")
    if tree.condition is None:
        return _any(found, scope, lambda _: true())
    condition = tree.condition

    def inner(element: Mapping[str, Field]) -> Condition:
        return _condition(condition, _Scope(scope.entity, scope.dialect, tree.variable, element))

    if tree.quantifier == "any":
        return _any(found, scope, inner)
    return not_(_any(found, scope, lambda element: not_(func.coalesce(inner(element), false()))))


def _any(
    found: Rows | JsonList, scope: _Scope, condition: Callable[[Mapping[str, Field]], Condition]
) -> Condition:
    """Whether an element meets the condition, as a correlated EXISTS."""
    if isinstance(found, Rows):
        inner = select(found.key).where(found.link, condition(found.fields))
        return exists(inner.correlate(scope.entity.model))
    explode = func.json_each if scope.dialect == "sqlite" else func.json_array_elements_text
    elements = explode(found.column).table_valued("value")
    element = {"": Field(found.name, Kind.TEXT, elements.c.value)}
    inner = select(sql_literal(1)).select_from(elements).where(condition(element))
    return exists(inner.correlate(scope.entity.model))
