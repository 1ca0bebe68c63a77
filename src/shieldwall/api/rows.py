"""Answers whose rows are in ClickHouse: lists, counts and single ones, over the newest snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from sqlalchemy import String, func, literal
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import services_of
from shieldwall.api.answers import Entity
from shieldwall.api.odata.clickhouse import Source, count_rows, fetch_rows, rows_set
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.fields import EntitySet, Kind
from shieldwall.api.odata.options import read_options
from shieldwall.errors import not_found
from shieldwall.exposure.labels import read_labels
from shieldwall.identity.principal import Principal
from shieldwall.state import scope
from shieldwall.times import now, to_text

Row = Mapping[str, Any]
Shaper = Callable[[Row], Entity]

REFERENCES = rows_set("MachineReferences", "id exact")


def source(sql: str, **parameters: Any) -> Source:
    return Source(sql, {"until": now().strftime("%Y-%m-%d %H:%M:%S.%f"), **parameters})


def listed(
    request: Request,
    principal: Principal,
    entity: EntitySet,
    rows: Source,
    shape: Shaper,
    *where: Condition,
    context: str | None = None,
) -> Response:
    """A list under the request's options."""
    options = read_options(request.url.query, entity)
    page = fetch_rows(services_of(request).telemetry, principal.tenant_id, entity, rows, options, *where)
    items = [shape(row) for row in page.rows]
    return answers.collection(request, context or entity.name, items, page, options)


def counted(request: Request, principal: Principal, entity: EntitySet, rows: Source) -> Response:
    options = read_options(request.url.query, entity)
    store = services_of(request).telemetry
    return answers.number(count_rows(store, principal.tenant_id, entity, rows, options))


def one(request: Request, principal: Principal, entity: EntitySet, rows: Source, kind: str, key: str) -> Row:
    """The row whose key this is, in any case; ApiError 404 where there is none.

    As it was computed last, where it is kept; what is not, or is for a caller's devices alone, is computed.
    """
    services = services_of(request)
    kept = services.summaries.find(principal.tenant_id, entity.name, key) if scope.current() is None else None
    if kept is not None:
        return _read(entity, kept)
    options = read_options("$top=1", entity)
    same = is_text(entity, entity.key, key)
    found = fetch_rows(services.telemetry, principal.tenant_id, entity, rows, options, same).rows
    if not found:
        raise not_found(kind, key[:100])
    row: Row = found[0]
    return row


def _read(entity: EntitySet, kept: Row) -> Row:
    """A row with its times as times."""
    times = {each.name for each in entity.fields.values() if each.kind is Kind.TIME}
    return {
        name: datetime.fromisoformat(value).replace(tzinfo=UTC) if value and name in times else value
        for name, value in kept.items()
    }


def is_text(entity: EntitySet, name: str, value: str) -> Condition:
    """The condition that a property has this text, in any case."""
    same: Condition = func.lower(entity.field(name).column) == func.lower(literal(value, String))
    return same


def references(request: Request, principal: Principal, rows: Source) -> Response:
    """The devices that ``rows`` names by their ids, as lists of devices that are concerned show them."""
    services = services_of(request)
    options = read_options(request.url.query, REFERENCES)
    page = fetch_rows(services.telemetry, principal.tenant_id, REFERENCES, rows, options)
    with services.database.read(principal.tenant_id) as session:
        labels = read_labels(session, [row["id"] for row in page.rows])
    items = [label.reference(row["id"]) for row in page.rows if (label := labels.get(row["id"]))]
    return answers.collection(request, REFERENCES.name, items, page, options)


def timed(row: Row) -> Entity:
    """A row as it is answered: times as texts."""
    return {name: to_text(value) if hasattr(value, "astimezone") else value for name, value in row.items()}
