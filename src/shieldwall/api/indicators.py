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
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import count, fetch
from shieldwall.api.routing import router as new_router
from shieldwall.detection.models import Indicator
from shieldwall.devices.models import DeviceGroup
from shieldwall.errors import not_found
from shieldwall.identity.principal import Principal
from shieldwall.times import now

router = new_router("Indicators")

ALL = "Ti.ReadWrite.All"

Caller = Annotated[Principal, Depends(requires("Ti.ReadWrite", ALL))]


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


def _visible(principal: Principal) -> list[Condition]:
    """What the caller may see: active ones, and with Ti.ReadWrite alone those of its own."""
    conditions: list[Condition] = [
        or_(Indicator.expiration_time.is_(None), Indicator.expiration_time > now())
    ]
    if not principal.may(ALL):
        conditions.append(Indicator.created_by == principal.application_id)
    return conditions


def _shapes(session: Session, rows: Sequence[Indicator]) -> list[answers.Entity]:
    groups: Mapping[str, Any] = {}
    if any(row.rbac_group_names for row in rows):
        groups = {row.name: row.id for row in session.scalars(select(DeviceGroup))}
    return [shapes.indicator(row, groups) for row in rows]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise not_found("Indicator", text[:40])
    return int(text)
