"""Settings of data export: where a tenant wants rows of its hunting tables sent, and of which."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

from fastapi import Depends, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Body, Parameter, Passed
from shieldwall.api.odata.fields import EntitySet, Field, Kind, by_name
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.state import scope
from shieldwall.telemetry.data_exports import SETTINGS_LIMIT, read_setting
from shieldwall.telemetry.models import DataExport

router = new_router("Data export")

Reader = Annotated[Principal, Depends(requires("Machine.Read.All", "Machine.ReadWrite.All"))]
Writer = Annotated[Principal, Depends(requires("Machine.ReadWrite.All"))]

TARGETS = ("eventHubProperties", "storageAccountProperties", "workspaceProperties")
SETTING = Passed(*(Parameter(name) for name in ("id", "designatedTenantId", *TARGETS, "logs")))

SETTINGS = EntitySet(
    "DataExportSettings",
    DataExport,
    "id",
    by_name([Field("id", Kind.TEXT, DataExport.name)]),
)


@router.get("/api/dataExportSettings", summary="List settings of data export")
def list_settings(request: Request, principal: Reader) -> Response:
    """By name. OData options apply."""
    options = read_options(request.url.query, SETTINGS)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, SETTINGS, options)
        items = [_shaped(row) for row in page.rows]
    return answers.collection(request, "DataExportSettings", items, page, options)


@router.get("/api/dataExportSettings/{name}", summary="Get a setting of data export")
def get_setting(name: str, request: Request, principal: Reader) -> Response:
    with services_of(request).database.read(principal.tenant_id) as session:
        return answers.entity(request, "DataExportSettings", _shaped(_find(session, name)))


@router.post("/api/dataExportSettings", summary="Make or replace a setting of data export")
def put_setting(request: Request, principal: Writer, body: Annotated[Body, Depends(SETTING)]) -> Response:
    """One target, and the tables by their categories. A setting of the same name is replaced."""
    _check_reach()
    values = read_setting(body, principal.tenant_id)
    with services_of(request).database.session(principal.tenant_id) as session:
        row = _named(session, values["name"])
        if row is None:
            if (session.scalar(select(func.count()).select_from(DataExport)) or 0) >= SETTINGS_LIMIT:
                raise bad_request(f"A tenant has at most {SETTINGS_LIMIT} settings of data export.")
            row = DataExport(id=str(uuid4()), key=values["name"].lower())
            session.add(row)
        for name, value in values.items():
            setattr(row, name, value)
        audit.record(session, principal, "export.setting.put", row.name, detail={"target": row.properties})
        session.flush()
        return answers.entity(request, "DataExportSettings", _shaped(row))


@router.delete("/api/dataExportSettings/{name}", summary="Delete a setting of data export", status_code=204)
def delete_setting(name: str, request: Request, principal: Writer) -> Response:
    _check_reach()
    with services_of(request).database.session(principal.tenant_id) as session:
        row = _find(session, name)
        audit.record(session, principal, "export.setting.delete", row.name)
        session.delete(row)
    return answers.nothing()


def _shaped(row: DataExport) -> Entity:
    return {
        "id": row.name,
        "designatedTenantId": row.tenant_id,
        **{target: row.properties if target == row.target else None for target in TARGETS},
        "logs": row.logs,
    }


def _check_reach() -> None:
    """ApiError 403 for a caller who is limited to device groups: rows of all devices are exported."""
    if scope.current() is not None:
        raise ApiError(403, "Forbidden", "Only who may see every device can have events exported.")


def _named(session: Session, name: str) -> DataExport | None:
    return session.scalar(select(DataExport).where(DataExport.key == name.strip().lower()))


def _find(session: Session, name: str) -> DataExport:
    row = _named(session, name)
    if row is None:
        raise not_found("Setting of data export", name[:100])
    return row
