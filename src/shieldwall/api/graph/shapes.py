"""Alerts, incidents and comments as Graph answers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shieldwall.alerts.models import Alert, AlertComment, Evidence, Incident
from shieldwall.api.answers import Entity
from shieldwall.api.graph import words
from shieldwall.api.graph.evidence import evidence
from shieldwall.api.graph.words import small
from shieldwall.api.shapes import time_text
from shieldwall.detection.external.models import ReceivedAlert
from shieldwall.devices.models import Device
from shieldwall.times import to_text


def alert(
    row: Alert, rows: Sequence[Evidence], on: Device | None, received: ReceivedAlert | None = None
) -> Entity:
    """``received`` is what another product said, where the alert is of one."""
    return {
        "id": row.id,
        "providerAlertId": (received.partner_id if received else None) or row.id,
        "incidentId": str(row.incident_id),
        "status": small(row.status),
        "severity": small(row.severity, words.SEVERITIES),
        "classification": small(row.classification),
        "determination": small(row.determination, words.DETERMINATIONS),
        "serviceSource": words.SERVICE_SOURCE,
        "detectionSource": words.detection_source(row.detection_source),
        "productName": f"{received.vendor} {received.product}" if received else words.PRODUCT,
        "detectorId": row.detector_id,
        "tenantId": row.tenant_id,
        "title": row.title,
        "description": row.description,
        "recommendedActions": row.recommended_action,
        "category": row.category,
        "categories": [row.category] if row.category else [],
        "assignedTo": row.assigned_to,
        "alertWebUrl": None,
        "incidentWebUrl": None,
        "actorDisplayName": None,
        "threatDisplayName": row.threat_name,
        "threatFamilyName": row.threat_family_name,
        "mitreTechniques": row.mitre_techniques,
        "createdDateTime": to_text(row.alert_creation_time),
        "lastUpdateDateTime": to_text(row.last_update_time),
        "resolvedDateTime": time_text(row.resolved_time),
        "firstActivityDateTime": time_text(row.first_event_time),
        "lastActivityDateTime": time_text(row.last_event_time),
        "investigationState": small(row.investigation_state),
        "alertPolicyId": None,
        "additionalData": _additional(received) if received else None,
        "customDetails": row.custom_details,
        "systemTags": [],
        "comments": [comment(item) for item in row.comments],
        "evidence": evidence(row, rows, on),
    }


def _additional(received: ReceivedAlert) -> Entity:
    """What the product told of itself and the connection, and how sure the device is."""
    return {
        "vendorName": received.vendor,
        "productName": received.product,
        "sensor": received.sensor or None,
        "network": received.body.get("network"),
        "confidence": received.confidence,
        "reasons": received.resolution.get("reasons", []),
    }


def incident(row: Incident) -> Entity:
    redirected = row.redirect_incident_id
    return {
        "id": str(row.id),
        "tenantId": row.tenant_id,
        "status": small(row.status),
        "incidentWebUrl": None,
        "redirectIncidentId": None if redirected is None else str(redirected),
        "displayName": row.name,
        "createdDateTime": to_text(row.created_time),
        "lastUpdateDateTime": to_text(row.last_update_time),
        "assignedTo": row.assigned_to,
        "classification": small(row.classification),
        "determination": small(row.determination, words.DETERMINATIONS),
        "severity": small(row.severity, words.SEVERITIES),
        "customTags": row.tags,
        "systemTags": [],
        "description": row.description,
        "lastModifiedBy": row.last_modified_by,
        "resolvingComment": row.resolving_comment,
        "summary": row.summary,
        "priorityScore": None,
        "comments": [incident_comment(item) for item in row.comments],
    }


def comment(row: AlertComment) -> Entity:
    return _comment(row.comment, row.created_by, to_text(row.created_time))


def incident_comment(kept: dict[str, Any]) -> Entity:
    return _comment(kept["comment"], kept["createdBy"], kept["createdTime"])


def _comment(text: str, author: str, created: str) -> Entity:
    return {"comment": text, "createdByDisplayName": author, "createdDateTime": created}
