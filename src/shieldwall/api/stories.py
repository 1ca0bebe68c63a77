"""Stories: of an alert, the tree of processes around it; of an incident, the graph of the attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import select
from starlette.responses import Response

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.alerts.process_tree import ProcessNode, process_tree, walk
from shieldwall.alerts.story import ALERTS_LIMIT, attack_story, by_alert
from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.incidents import find_incident
from shieldwall.api.lookup import find_alert
from shieldwall.api.routing import router as new_router
from shieldwall.api.shapes import time_text
from shieldwall.identity.principal import Principal
from shieldwall.telemetry.store import TelemetryStore

router = new_router("Alerts")

CHUNK = 500
MARKS_LIMIT = 2000
"""Most processes of other alerts that are looked for in one tree."""

Reader = Annotated[Principal, Depends(requires("Alert.Read.All", "Alert.ReadWrite.All"))]
IncidentReader = Annotated[Principal, Depends(requires("Incident.Read.All", "Incident.ReadWrite.All"))]


@router.get("/api/alerts/{alert_id}/story", summary="Get the process tree of an alert")
def story(alert_id: str, request: Request, principal: Reader) -> Response:
    """From the root down to the leaves, oldest first, with each alert of the incident where it happened.

    `processTree` is null when nothing is stored of its processes. `alerts` are all of the incident on this
    device in the order of their times; `inTree` says whether a process of the tree is theirs.
    """
    services = services_of(request)
    with services.database.read(principal.tenant_id) as session:
        row, evidence = find_alert(session, alert_id)
        on_device = (Alert.incident_id == row.incident_id, Alert.machine_id == row.machine_id)
        in_order = (Alert.first_event_time, Alert.id)
        others = session.scalars(select(Alert).where(*on_device).order_by(*in_order).limit(MARKS_LIMIT)).all()
        marks = session.execute(
            select(Alert.id, Alert.title, Evidence.process_id, Evidence.process_creation_time)
            .join(Evidence, Evidence.alert_id == Alert.id)
            .where(*on_device)
            .where(Evidence.entity_type == "Process", Evidence.process_id.is_not(None))
            .order_by(*in_order, Evidence.id)
            .limit(MARKS_LIMIT)
        ).all()
    root = _tree(services.telemetry, row, evidence)
    placed: set[str] = set()
    for node in walk(root) if root else ():
        here = [mark for mark in marks if node.is_process(mark.process_id, mark.process_creation_time)]
        node.alerts.extend(dict.fromkeys(mark.title for mark in here))
        node.alert_ids.extend(dict.fromkeys(mark.id for mark in here))
        placed.update(node.alert_ids)
    told = [
        {
            "alertId": other.id,
            "title": other.title,
            "severity": other.severity,
            "firstActivity": time_text(other.first_event_time),
            "inTree": other.id in placed,
        }
        for other in others
    ]
    body = {
        "alertId": row.id,
        "incidentId": row.incident_id,
        "machineId": row.machine_id,
        "alerts": told,
        "processTree": root.to_json() if root else None,
    }
    return answers.value(request, "Stories/$entity", body)


@router.get("/api/incidents/{incident_id}/story", summary="Get the attack story of an incident")
def incident_story(incident_id: str, request: Request, principal: IncidentReader) -> Response:
    """A graph of assets and entities in the order in which they took part, and each alert with the reasons
    for which it is in the incident. At most 1,000 alerts, 500 nodes and 2,000 edges; `truncated` tells."""
    with services_of(request).database.read(principal.tenant_id) as session:
        row = find_incident(session, incident_id)
        of_incident = select(Alert).where(Alert.incident_id == row.id)
        alerts = session.scalars(
            of_incident.order_by(Alert.first_event_time, Alert.id).limit(ALERTS_LIMIT)
        ).all()
        evidence: list[Evidence] = []
        for start in range(0, len(alerts), CHUNK):
            part = [alert.id for alert in alerts[start : start + CHUNK]]
            evidence += session.scalars(
                select(Evidence).where(Evidence.alert_id.in_(part)).order_by(Evidence.id)
            )
    return answers.value(request, "IncidentStories/$entity", attack_story(row, alerts, by_alert(evidence)))


def _tree(store: TelemetryStore, row: Alert, evidence: Sequence[Evidence]) -> ProcessNode | None:
    """The tree of the first process in the evidence of which anything is stored."""
    for item in evidence:
        if row.machine_id and item.process_id and item.process_creation_time:
            found = process_tree(
                store, row.tenant_id, row.machine_id, item.process_id, item.process_creation_time
            )
            if found is not None:
                return found
    return None
