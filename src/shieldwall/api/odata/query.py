"""Runs a collection's query: the filter, a total order, one page, and where the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, UnaryExpression, and_, case, false, func, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.interfaces import ORMOption

from shieldwall.api.odata.compile import Condition, compile_filter
from shieldwall.api.odata.fields import Column, EntitySet
from shieldwall.api.odata.options import Options, next_query
from shieldwall.api.odata.tree import Value


@dataclass(frozen=True)
class Page:
    """Entities in order; ``total`` when it was asked for; ``next`` is the next page's query string."""

    rows: Sequence[Any]
    total: int | None
    next: str | None


def fetch(
    session: Session,
    entity: EntitySet,
    options: Options,
    *where: Condition,
    load: Sequence[ORMOption] = (),
) -> Page:
    """One page of ``entity`` within the session's tenant; ``where`` are conditions that the route adds."""
    conditions = [*where, *_filter(session, entity, options)]
    total = _count(session, entity, conditions) if options.count else None
    if options.limit == 0:
        return Page([], total, None)
    columns = [field.column for field, _ in options.order]
    statement = arrange(select(entity.model, *columns).where(*conditions).options(*load), options)
    page = cut(session.execute(statement).all(), options, total, lambda row, _: row[1:])
    return Page([row[0] for row in page.rows], page.total, page.next)


def arrange(statement: Select[Any], options: Options) -> Select[Any]:
    """The statement in the order asked for, from where the page begins, with one row more than it has."""
    statement = statement.order_by(*_order_by(options)).limit(options.limit + 1)
    if options.after is not None:
        return statement.where(_behind(options))
    return statement.offset(options.skip) if options.skip else statement


def cut(
    found: Sequence[Any],
    options: Options,
    total: int | None,
    place: Callable[[Any, Options], Sequence[Value]],
) -> Page:
    """The page of what an arranged statement found; ``place`` tells a row's values of the order."""
    rows = found[: options.limit]
    more = len(found) > options.limit and (options.top is None or options.top > options.limit)
    return Page(rows, total, next_query(options, place(rows[-1], options)) if more else None)


def count(session: Session, entity: EntitySet, options: Options, *where: Condition) -> int:
    """How many entities the filter finds, whatever the page."""
    return _count(session, entity, [*where, *_filter(session, entity, options)])


def _count(session: Session, entity: EntitySet, conditions: Sequence[Condition]) -> int:
    statement = select(func.count()).select_from(entity.model).where(*conditions)
    return session.scalar(statement) or 0


def _filter(session: Session, entity: EntitySet, options: Options) -> list[Condition]:
    if options.filter is None:
        return []
    return [compile_filter(options.filter, entity, session.get_bind().dialect.name)]


def _order_by(options: Options) -> list[UnaryExpression[Any]]:
    """Null is less than any value, on every database."""
    terms: list[UnaryExpression[Any]] = []
    for field, descending in options.order:
        if _nullable(field.column):
            is_null = case((field.column.is_(None), 0), else_=1)
            terms.append(is_null.desc() if descending else is_null.asc())
        terms.append(field.column.desc() if descending else field.column.asc())
    return terms


def _behind(options: Options) -> Condition:
    """Rows that come after ``options.after``: equal in the first terms, behind in the next one."""
    ways: list[Condition] = []
    equal: list[Condition] = []
    for (field, descending), value in zip(options.order, options.after or (), strict=True):
        ways.append(and_(*equal, _next(field.column, descending, value)))
        equal.append(field.column.is_(None) if value is None else field.column == value)
    return or_(*ways)


def _next(column: Column, descending: bool, value: Value) -> Condition:
    if value is None:
        return false() if descending else column.is_not(None)
    if descending:
        return or_(column < value, column.is_(None)) if _nullable(column) else column < value
    return column > value


def _nullable(column: Column) -> bool:
    return bool(getattr(column, "nullable", True))
