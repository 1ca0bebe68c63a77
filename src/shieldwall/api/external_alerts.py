"""Alerts that other products send, and what became of each; Defender has nothing like it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from sqlalchemy import select
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.answers import Entity
from shieldwall.api.bodies import Shape, invalid_body, read_content
from shieldwall.api.lookup import find_alert
from shieldwall.api.routing import router as new_router
from shieldwall.api.shapes import time_text
from shieldwall.detection.external.clocks import estimate
from shieldwall.detection.external.formats.registry import FORMATS
from shieldwall.detection.external.intake import Outcome
from shieldwall.detection.external.models import ExternalSource, ReceivedAlert
from shieldwall.detection.external.reading import find_format, read
from shieldwall.detection.external.schema import ExternalAlert
from shieldwall.errors import not_found
from shieldwall.identity.principal import Principal
from shieldwall.times import to_text

router = new_router("External alerts")

# Products send alerts; people make theirs of events.
Sender = Annotated[Principal, Depends(requires("Alert.Submit.All", delegated=()))]
Reader = Annotated[Principal, Depends(requires("Alert.Read.All", "Alert.ReadWrite.All"))]

_SOURCES = select(ExternalSource).order_by(
    ExternalSource.vendor, ExternalSource.product, ExternalSource.sensor
)
SOURCES_LIMIT = 1000


class _Records(Shape):
    """The bytes of a body, which its format says how to read."""

    async def __call__(self, request: Request) -> bytes:  # type: ignore[override]
        return bytes(await read_content(request))

    def openapi(self) -> dict[str, Any]:
        # Parts are written out where they are used: the document keeps no definitions of single operations.
        text = {"schema": {"type": "string"}}
        own = {"schema": _written_out(ExternalAlert.model_json_schema(by_alias=True))}
        lines = {kind: text for form in FORMATS.values() if form.parse_line for kind in form.content_types}
        return {"requestBody": {"content": {"application/json": own, "application/x-ndjson": text, **lines}}}


RECORDS = _Records()


def _written_out(schema: dict[str, Any]) -> dict[str, Any]:
    known = schema.pop("$defs", {})

    def follow(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return follow(known[part["$ref"].rpartition("/")[2]])
            return {name: follow(value) for name, value in part.items()}
        return [follow(each) for each in part] if isinstance(part, list) else part

    found: dict[str, Any] = follow(schema)
    return found


@router.post("/api/alerts/external", summary="Send alerts of another product")
def send(
    request: Request,
    principal: Sender,
    content: Annotated[bytes, Depends(RECORDS)],
    form: Annotated[str, Query(alias="format", max_length=40)] = "",
) -> Response:
    """One alert or up to 500, in our schema or that of a product; each answered by what became of it.

    `format` is `shieldwall`, `suricata`, `zeek`, `wazuh`, `falco`, `ocsf`, `stix`, `cef` or `leef`; without
    it the Content-Type or the records tell. A single alert that cannot be taken is refused with 400.
    """
    named = find_format(form, request.headers.get("content-type", ""))
    items, batch = read(content, named)
    if not batch and items and (error := items[0].error) is not None:
        raise invalid_body(f"{error}.")
    outcomes = services_of(request).external_alerts.take(principal, items)
    return answers.collection(request, "ExternalAlertResults", [_outcome(each) for each in outcomes])


@router.get("/api/alerts/{alert_id}/external", summary="Get what another product said of an alert")
def get_external(alert_id: str, request: Request, principal: Reader) -> Response:
    """The product, its newest record, and how sure it is that device and process are the right ones."""
    with services_of(request).database.read(principal.tenant_id) as session:
        alert, _ = find_alert(session, alert_id)
        row = session.scalar(select(ReceivedAlert).where(ReceivedAlert.alert_id == alert.id))
        if row is None:
            raise not_found("External alert", alert_id[:80])
        return answers.entity(request, "ExternalAlerts", _received(row))


@router.get("/api/alertSources", summary="List the products that sent alerts")
def list_sources(request: Request, principal: Reader) -> Response:
    """Each sensor, with how many alerts it sent and how far its clock is ahead of the devices' clocks."""
    with services_of(request).database.read(principal.tenant_id) as session:
        rows = session.scalars(_SOURCES.limit(SOURCES_LIMIT)).all()
    return answers.collection(request, "AlertSources", [_source(row) for row in rows])


def _outcome(each: Outcome) -> Entity:
    error = each.error
    return {
        "item": each.place,
        "result": each.result,
        "format": each.format,
        "alertId": each.alert_id,
        "incidentId": each.incident_id,
        "machineId": each.machine_id,
        "externalId": each.partner_id,
        "confidence": each.confidence,
        "error": error and {"code": "InvalidRequestBody", "field": error.field, "message": f"{error}."},
    }


def _received(row: ReceivedAlert) -> Entity:
    return {
        "alertId": row.alert_id,
        "vendor": row.vendor,
        "product": row.product,
        "sensor": row.sensor,
        "externalId": row.partner_id,
        "format": row.format,
        "receivedTime": to_text(row.received_time),
        "updatedTime": to_text(row.updated_time),
        "state": row.state,
        "confidence": row.confidence,
        "reasons": row.resolution.get("reasons", []),
        "event": row.resolution.get("event"),
        "nextTry": time_text(row.next_try),
        "alert": row.body,
        "record": row.raw,
    }


def _source(row: ExternalSource) -> Entity:
    return {
        "vendor": row.vendor,
        "product": row.product,
        "sensor": row.sensor,
        "alerts": row.alerts,
        "firstSeen": to_text(row.first_seen),
        "lastSeen": to_text(row.last_seen),
        "clockAheadSeconds": estimate(row.offsets),
    }
