"""Indicators: the list of files, addresses, domains, URLs and certificates to act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.bodies import Body, Parameter, Passed, invalid_body
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import count, fetch
from shieldwall.api.routing import router as new_router
from shieldwall.detection.models import Indicator
from shieldwall.detection.ownership import ALL, OWN, within_reach
from shieldwall.devices.models import DeviceGroup
from shieldwall.errors import ApiError, missing_parameter, not_found
from shieldwall.identity.principal import Principal
from shieldwall.times import now

router = new_router("Indicators")

BATCH_LIMIT = 500

INDICATOR = Passed(
    *(
        Parameter(name)
        for name in (
            "indicatorValue",
            "indicatorType",
            "action",
            "title",
            "description",
            "application",
            "expirationTime",
            "severity",
            "recommendedActions",
            "educateUrl",
            "externalId",
            "category",
            "generateAlert",
            "bypassDurationHours",
            "historicalDetection",
        )
    ),
    Parameter("rbacGroupNames", many=True),
    Parameter("mitreTechniques", many=True),
)
IMPORT = Passed(Parameter("Indicators"))
BATCH = Passed(Parameter("IndicatorIds", many=True))

Caller = Annotated[Principal, Depends(requires(OWN, ALL))]
# Documented for applications only.
Remover = Annotated[Principal, Depends(requires(OWN, ALL, delegated=()))]


@router.get("/api/indicators", summary="List indicators")
def list_indicators(request: Request, principal: Caller) -> Response:
    """Those that have not expired. OData options apply. With Ti.ReadWrite alone only the caller's own."""
    options = read_options(request.url.query, sets.INDICATORS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.INDICATORS, options, *_visible(principal))
        items = _shapes(session, page.rows)
    return answers.collection(request, "Indicators", items, page, options)


@router.get("/api/indicators/$count", summary="Count indicators")
def count_indicators(request: Request, principal: Caller) -> Response:
    options = read_options(request.url.query, sets.INDICATORS)
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.number(count(session, sets.INDICATORS, options, *_visible(principal)))


@router.get("/api/indicators/{indicator_id}", summary="Get an indicator")
def get_indicator(indicator_id: str, request: Request, principal: Caller) -> Response:
    with services_of(request).database.read(principal.tenant_id) as session:
        wanted = select(Indicator).where(Indicator.id == _number(indicator_id), *_visible(principal))
        row = session.scalar(wanted)
        if row is None:
            raise not_found("Indicator", indicator_id[:40])
        return answers.entity(request, "Indicators", _shapes(session, [row])[0])


@router.post("/api/indicators", summary="Submit or update an indicator")
def submit(request: Request, principal: Caller, body: Annotated[Body, Depends(INDICATOR)]) -> Response:
    """A value that is on the list already is updated and keeps its id."""
    services = services_of(request)
    _check_types(body)
    row = services.indicators.create_or_update(principal.tenant_id, principal, body)
    with services.database.read(principal.tenant_id) as session:
        return answers.entity(request, "Indicators", _shapes(session, [row])[0])


@router.post("/api/indicators/import", summary="Submit or update many indicators")
def import_many(request: Request, principal: Caller, body: Annotated[Body, Depends(IMPORT)]) -> Response:
    """Up to 500, each with its own outcome."""
    bodies = [INDICATOR.read(item) for item in _items(body)]
    for body in bodies:
        _check_types(body)
    results = services_of(request).indicators.import_many(principal.tenant_id, principal, bodies)
    return answers.collection(
        request, "Collection(microsoft.windowsDefenderATP.api.ImportIndicatorResult)", results
    )


@router.post("/api/indicators/BatchUpdate", summary="Update many indicators")
def update_many(request: Request, principal: Caller, body: Annotated[Body, Depends(IMPORT)]) -> Response:
    """Change up to 500 indicators, all of them or none; each is named by its id, or by its type and value."""
    items = _items(body)
    changes = [(_named(item), INDICATOR.read(item)) for item in items]
    for _, change in changes:
        _check_types(change)
    services = services_of(request)
    rows = services.indicators.update_many(principal.tenant_id, principal, changes)
    with services.database.read(principal.tenant_id) as session:
        return answers.collection(request, "Indicators", _shapes(session, rows))


@router.post("/api/indicators/BatchDelete", summary="Delete many indicators", status_code=204)
def delete_many(request: Request, principal: Remover, body: Annotated[Body, Depends(BATCH)]) -> Response:
    """Delete up to 500 indicators, all of them or none."""
    items = body.get("IndicatorIds")
    if items is None:
        raise missing_parameter("IndicatorIds")
    if not isinstance(items, list):
        raise invalid_body("IndicatorIds must be a list of strings.")
    if not items:
        raise ApiError(400, "MaximumBatchSizeExceeded", "The batch is empty.")
    _bounded("indicators", items)
    numbers = list(dict.fromkeys(_valid_number(item) for item in items))
    services_of(request).indicators.delete_many(principal.tenant_id, principal, numbers)
    return answers.nothing()


@router.delete("/api/indicators/{indicator_id}", summary="Delete an indicator", status_code=204)
def delete(indicator_id: str, request: Request, principal: Remover) -> Response:
    services_of(request).indicators.delete(principal.tenant_id, principal, _number(indicator_id))
    return answers.nothing()


def _items(body: Body) -> list[Mapping[str, Any]]:
    items = body.get("Indicators")
    if items is None:
        raise missing_parameter("Indicators")
    if not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
        raise invalid_body("Indicators must be a list of objects.")
    _bounded("indicators", items)
    return items


def _named(item: Mapping[str, Any]) -> int | None:
    """The number that an item names its indicator by."""
    given = {name.lower(): value for name, value in item.items()}.get("id")
    return None if given is None else _valid_number(given)


def _visible(principal: Principal) -> list[Condition]:
    """What the caller may see: active ones, and with Ti.ReadWrite alone those of its own."""
    unexpired = or_(Indicator.expiration_time.is_(None), Indicator.expiration_time > now())
    return [unexpired, *within_reach(principal)]


def _check_types(body: Body) -> None:
    for name in ("category", "bypassDurationHours"):
        value = body.get(name)
        if isinstance(value, bool | float) or (isinstance(value, int) and not 0 <= value < 2**31):
            raise invalid_body(f"{name} must be a whole number.")
    for name in ("generateAlert", "historicalDetection"):
        if str(body.get(name)).lower() not in ("none", "true", "false"):
            raise invalid_body(f"{name} must be true or false.")


def _shapes(session: Session, rows: Sequence[Indicator]) -> list[answers.Entity]:
    groups: Mapping[str, Any] = {}
    if any(row.rbac_group_names for row in rows):
        groups = {row.name: row.id for row in session.scalars(select(DeviceGroup))}
    return [shapes.indicator(row, groups) for row in rows]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise not_found("Indicator", text[:40])
    return int(text)


def _valid_number(item: object) -> int:
    text = str(item) if isinstance(item, str | int) and not isinstance(item, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ApiError(400, "InvalidInput", f"The id {str(item)[:40]!r} is not valid.")
    return int(text)


def _bounded(what: str, items: Sequence[object]) -> None:
    if len(items) > BATCH_LIMIT:
        message = f"The batch has {len(items)} {what}; at most {BATCH_LIMIT} are allowed."
        raise ApiError(400, "MaximumBatchSizeExceeded", message)
