"""Runs a collection's query: the filter, a total order, one page, and where the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, Select, UnaryExpression, and_, case, false, func, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.interfaces import ORMOption

from shieldwall.api.odata.compile import Condition, compile_filter
from shieldwall.api.odata.fields import Column, EntitySet
from shieldwall.api.odata.options import Options, next_query
from shieldwall.api.odata.tree import Value
from shieldwall.state import scope

PART_ROWS = 500


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
    fits: Callable[[Session, Sequence[Any]], int] | None = None,
) -> Page:
    """One page of ``entity`` within the session's tenant; ``where`` are conditions that the route adds.

    ``fits`` tells how many of the found entities fit on a page, where much more comes with some of them.
    """
    conditions = [*where, *_filter(session, entity, options)]
    total = _count(session, entity, conditions) if options.count else None
    if options.limit == 0:
        return Page([], total, None)
    columns = [field.column for field, _ in options.order]
    statement = arrange(select(entity.model, *columns).where(*conditions).options(*load), options)
    found = session.execute(statement).all()
    if fits is not None and found:
        most = fits(session, [row[0] for row in found[: options.limit]])
        options = replace(options, page_size=min(options.page_size, most))
    page = cut(found, options, total, lambda row, _: row[1:])
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


@dataclass(frozen=True)
class Part:
    """Some of a page's entities as they are answered; the first has ``total``, the last has ``next``."""

    items: list[Any]
    total: int | None = None
    next: str | None = None


def parts(
    read: Callable[[], AbstractContextManager[Session]],
    entity: EntitySet,
    options: Options,
    columns: Sequence[Any],
    shape: Callable[[Session, Sequence[Row[Any]]], list[Any]],
    *where: Condition,
    size: int = PART_ROWS,
) -> Iterator[Part]:
    """A page bit by bit, so that as much is in memory as ``size`` rows take, however large the page is.

    Rows begin with ``columns`` and are no objects of the ORM, which would take longer than all else. Each
    part is read in a transaction of its own and begins where the one before ended: a slow reader holds no
    transaction, and what comes meanwhile shifts nothing.
    """
    return _parts(read, entity, options, columns, shape, where, size, scope.current())


def _parts(
    read: Callable[[], AbstractContextManager[Session]],
    entity: EntitySet,
    options: Options,
    columns: Sequence[Any],
    shape: Callable[[Session, Sequence[Row[Any]]], list[Any]],
    where: Sequence[Condition],
    size: int,
    reach: scope.Reach,
) -> Iterator[Part]:
    order: list[Any] = [field.column.label(f"order_{at}") for at, (field, _) in enumerate(options.order)]
    left, after, total = options.limit, options.after, None
    while True:
        wanted = min(left, size)
        skip = options.skip if after is None else 0
        part = replace(options, top=None, page_size=wanted, after=after, skip=skip)
        # Wherever this goes on, it is for the caller that it began for.
        scope.narrow(reach)
        with read() as session:
            conditions = [*where, *_filter(session, entity, options)]
            if options.count and after is options.after:
                total = _count(session, entity, conditions)
            statement = arrange(select(*columns, *order).where(*conditions), part)
            found = session.execute(statement).all() if wanted else []
            rows = found[:wanted]
            items = shape(session, rows) if rows else []
        left -= len(rows)
        if left and len(found) > wanted:
            after = tuple(rows[-1][len(columns) :])
            yield Part(items, total)
            continue
        more = len(found) > wanted and (options.top is None or options.top > options.limit)
        last = next_query(options, rows[-1][len(columns) :]) if more else None
        yield Part(items, total, last)
        return


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
    (first, descending), value = options.order[0], (options.after or (None,))[0]
    if value is None or _nullable(first.column):
        return or_(*ways)
    # Said apart, so that an index leads to where the page begins.
    return and_(first.column <= value if descending else first.column >= value, or_(*ways))


def _next(column: Column, descending: bool, value: Value) -> Condition:
    if value is None:
        return false() if descending else column.is_not(None)
    if descending:
        return or_(column < value, column.is_(None)) if _nullable(column) else column < value
    return column > value


def _nullable(column: Column) -> bool:
    return bool(getattr(column, "nullable", True))
