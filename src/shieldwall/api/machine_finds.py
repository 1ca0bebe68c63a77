"""Devices found otherwise than by a filter: by an address at a time, untagged, or in large pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import and_, or_, select
from starlette.responses import Response

from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.fields import EntitySet
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.parser import with_offset
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError, bad_request
from shieldwall.identity.principal import Principal
from shieldwall.telemetry.logons import addressed
from shieldwall.times import now, parse, to_text

router = new_router("Machines")

WINDOW = timedelta(minutes=15)
OLDER_WINDOW = timedelta(minutes=16)
PAST = timedelta(days=30)
LARGE_PAGE = 200_000

Reader = Annotated[Principal, Depends(requires("Machine.Read.All", "Machine.ReadWrite.All"))]

LARGE = replace(sets.MACHINES, page_limit=LARGE_PAGE)


@router.get("/api/machines/findbyip(ip='{ip}',timestamp={timestamp})", summary="Find devices by address")
def find_by_ip(ip: str, timestamp: str, request: Request, principal: Reader) -> Response:
    """Devices that had the address, as they reported it, within 15 minutes of the time."""
    return answers.collection(request, "Machines", _found(request, principal, ip, timestamp, WINDOW))


@router.get("/api/machines/find(timestamp={timestamp},key={key})", summary="Find devices by address (older)")
def find(timestamp: str, key: str, request: Request, principal: Reader) -> Response:
    """As `findbyip`, within 16 minutes; 404 when there is none."""
    items = _found(request, principal, key, timestamp, OLDER_WINDOW)
    if not items:
        raise ApiError(404, "NotFound", f"No machine had the address {key[:64]} at that time.")
    return answers.collection(request, "Machines", items)


@router.get("/api/machines/bigPageSize", summary="List devices in large pages")
def large_pages(request: Request, principal: Reader) -> Response:
    return _list(request, principal, LARGE)


@router.get("/api/machines/unTaggedMachines", summary="List devices without a tag")
def untagged(request: Request, principal: Reader) -> Response:
    return _list(request, principal, sets.MACHINES, ~Device.tags.any())


@router.get("/api/machines/dlp", summary="List devices as data loss prevention sees them")
def data_loss_prevention(request: Request, principal: Reader) -> Response:
    """Agents of this server have no data loss prevention, which `configStatus` says."""
    options = read_options(request.url.query, sets.MACHINES)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.MACHINES, options)
        items = [_dlp(row) for row in page.rows]
    return answers.collection(request, "DlpMachines", items, page, options)


def _dlp(row: Device) -> Entity:
    return {
        "id": row.id,
        "computerDnsName": row.computer_dns_name,
        "healthStatus": row.health_status,
        "configStatus": "NotConfigured",
        "lastSeen": to_text(row.last_seen),
        "osPlatform": row.os_platform,
        "version": row.version,
    }


def _list(request: Request, principal: Principal, kind: EntitySet, *where: Condition) -> Response:
    options = read_options(request.url.query, kind)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, kind, options, *where)
        items = [shapes.machine(row) for row in page.rows]
    return answers.collection(request, "Machines", items, page, options)


def _found(
    request: Request, principal: Principal, ip: str, timestamp: str, window: timedelta
) -> list[Entity]:
    """Devices that reported the address by then; one that reported nothing yet counts with its last one."""
    address, moment = _address(ip), _moment(timestamp, window)
    services = services_of(request)
    known = addressed(services.telemetry, principal.tenant_id, address, moment, window)
    present = and_(
        Device.first_seen <= moment + window,
        or_(Device.last_seen >= moment - window, Device.last_contact >= moment - window),
    )
    unreported = and_(Device.last_ip_address == address, Device.id.not_in(sorted(known)[:10_000]))
    had = sorted(device for device, has in known.items() if has)
    wanted = select(Device).where(present, or_(Device.id.in_(had), unreported)).order_by(Device.id)
    with services.database.read(principal.tenant_id) as session:
        return [shapes.machine(row) for row in session.scalars(wanted.limit(sets.MACHINES.page_limit))]


def _address(text: str) -> str:
    try:
        return str(ip_address(text.strip(" '\"")))
    except ValueError:
        raise ApiError(400, "InvalidIpAddress", f"IP address {text[:64]} is invalid.") from None


def _moment(text: str, window: timedelta) -> datetime:
    try:
        moment = parse(with_offset(text.strip(" '")))
    except ValueError:
        raise bad_request("The timestamp is not a date and time.") from None
    if not now() - PAST <= moment <= now() + window:
        raise bad_request("The timestamp must be within the past 30 days.")
    return moment
