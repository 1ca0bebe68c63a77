"""Alerts that clients make of a stored event, named as hunting shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.exc import IntegrityError
from starlette.responses import Response

from shieldwall import times
from shieldwall.alerts.raising import join_or_raise
from shieldwall.api import answers, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.bodies import Body, Parameter, Shape, choices, invalid_body
from shieldwall.api.lookup import find_alert, find_device_id
from shieldwall.api.routing import router as new_router
from shieldwall.api.vocabulary import CATEGORIES
from shieldwall.detection import references
from shieldwall.errors import not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal

router = new_router("Alerts")

Writer = Annotated[Principal, Depends(requires("Alert.ReadWrite.All"))]


_FRACTION = re.compile(r"\.(\d+)")


class _Reference(Shape):
    """The body of a reference: hunting gives reports as numbers, the documentation as text."""

    def read(self, body: Mapping[str, Any]) -> Body:
        plain = {
            key: str(value) if key.lower() == "reportid" and type(value) is int else value
            for key, value in body.items()
        }
        return super().read(plain)


REFERENCE = _Reference(
    Parameter("machineId", required=True, limit=255),
    Parameter("reportId", required=True, limit=20),
    Parameter("eventTime", required=True, limit=40),
    Parameter("severity", required=True, choices=choices("Low", "Medium", "High")),
    Parameter("title", required=True, limit=500),
    Parameter("description", required=True),
    Parameter("recommendedAction", required=True),
    Parameter("category", required=True, choices=choices(*CATEGORIES)),
)


@router.post("/api/alerts/CreateAlertByReference", summary="Create an alert from a hunting event")
def create_by_reference(
    request: Request, principal: Writer, body: Annotated[Body, Depends(REFERENCE)]
) -> Response:
    """An open alert of the same title on the device takes the event in, and is what is answered."""
    services = services_of(request)
    report, moment = _report(body["reportId"]), _moment(body["eventTime"])
    with services.database.read(principal.tenant_id) as session:
        device_id = find_device_id(session, body["machineId"])
    event = references.find_event(services.telemetry, principal.tenant_id, device_id, report, moment)
    if event is None:
        raise not_found("Event", f"{report} at {moment} on {device_id}")
    draft = references.draft(principal.tenant_id, event, body)
    for last in (False, True):
        try:
            with services.database.session(principal.tenant_id) as session:
                alert_id = join_or_raise(session, draft, services.settings.incident_window).id
                audit.record(session, principal, "alert.create", alert_id, detail={"title": draft.title})
            break
        except IntegrityError:
            # The same was asked for at the same moment; that alert is now there to be joined.
            if last:
                raise
    with services.database.read(principal.tenant_id) as session:
        row, evidence = find_alert(session, alert_id)
        return answers.entity(request, "Alerts", shapes.alert(row, evidence))


def _report(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and len(text.strip()) < 19):
        raise invalid_body("reportId must be a number.")
    return int(text)


def _moment(text: str) -> str:
    """The time in UTC with all seven digits of its fraction, which a Python time has not."""
    try:
        moment = times.parse(text)
    except ValueError:
        raise invalid_body("eventTime must be a time such as 2018-08-03T16:45:21.7115183Z.") from None
    fraction = _FRACTION.search(text)
    digits = fraction[1] if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{digits[:7]:0<7}Z"
