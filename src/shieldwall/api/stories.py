"""The story of an alert: the tree of processes that it happened in, with the alerts of the incident on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import select
from starlette.responses import Response

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.alerts.process_tree import ProcessNode, process_tree, walk
from shieldwall.api import answers
from shieldwall.api.access import requires, services_of
from shieldwall.api.lookup import find_alert
from shieldwall.api.routing import router as new_router
from shieldwall.identity.principal import Principal
from shieldwall.telemetry.store import TelemetryStore

router = new_router("Alerts")

MARKS_LIMIT = 2000
"""Most processes of other alerts that are looked for in one tree."""

Reader = Annotated[Principal, Depends(requires("Alert.Read.All", "Alert.ReadWrite.All"))]


@router.get("/api/alerts/{alert_id}/story", summary="Get the process tree of an alert")
def story(alert_id: str, request: Request, principal: Reader) -> Response:
    """From the root down to the leaves. `processTree` is null when nothing is stored of its processes."""
    services = services_of(request)
    with services.database.read(principal.tenant_id) as session:
        row, evidence = find_alert(session, alert_id)
        marks = session.execute(
            select(Alert.title, Evidence.process_id, Evidence.process_creation_time)
            .join(Evidence, Evidence.alert_id == Alert.id)
            .where(Alert.incident_id == row.incident_id, Alert.machine_id == row.machine_id)
            .where(Evidence.entity_type == "Process", Evidence.process_id.is_not(None))
            .order_by(Evidence.id)
            .limit(MARKS_LIMIT)
        ).all()
    root = _tree(services.telemetry, row, evidence)
    for node in walk(root) if root else ():
        titles = (title for title, process_id, started in marks if node.is_process(process_id, started))
        node.alerts.extend(dict.fromkeys(titles))
    body = {"alertId": row.id, "machineId": row.machine_id, "processTree": root.to_json() if root else None}
    return answers.value(request, "Stories/$entity", body)


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
