"""Graph's collections as data: its names for the columns, its spellings for their values."""

from __future__ import annotations

from sqlalchemy import String, literal

from shieldwall.alerts.models import Alert, Incident
from shieldwall.api.graph import words
from shieldwall.api.odata.fields import EntitySet, Field, JsonList, Kind, by_name
from shieldwall.api.vocabulary import (
    ALERT_STATUSES,
    CLASSIFICATION_WORDS,
    CLASSIFICATIONS,
    DETERMINATION_WORDS,
    DETERMINATIONS,
    INCIDENT_STATUSES,
    SEVERITIES,
)

DETERMINATION = DETERMINATION_WORDS | words.kept(words.DETERMINATIONS)
SEVERITY = {name.lower(): name for name in SEVERITIES} | words.kept(words.SEVERITIES)

_CLASSIFIED = (CLASSIFICATIONS, CLASSIFICATION_WORDS)
_SOURCES = words.kept(words.DETECTION_SOURCES)

ALERTS = EntitySet(
    "alerts_v2",
    Alert,
    "id",
    by_name(
        [
            Field("id", Kind.EXACT, Alert.id),
            Field("providerAlertId", Kind.EXACT, Alert.id),
            Field("incidentId", Kind.NUMBER, Alert.incident_id),
            Field("status", Kind.CHOICE, Alert.status, ALERT_STATUSES),
            Field("severity", Kind.CHOICE, Alert.severity, SEVERITIES, SEVERITY),
            Field("classification", Kind.CHOICE, Alert.classification, *_CLASSIFIED),
            Field("determination", Kind.CHOICE, Alert.determination, DETERMINATIONS, DETERMINATION),
            Field("serviceSource", Kind.TEXT, literal(words.SERVICE_SOURCE, String)),
            Field("productName", Kind.TEXT, literal(words.PRODUCT, String)),
            Field("detectionSource", Kind.CHOICE, Alert.detection_source, (), _SOURCES),
            Field("detectorId", Kind.TEXT, Alert.detector_id),
            Field("tenantId", Kind.LOWER, Alert.tenant_id),
            Field("title", Kind.TEXT, Alert.title),
            Field("description", Kind.TEXT, Alert.description),
            Field("category", Kind.TEXT, Alert.category),
            Field("assignedTo", Kind.TEXT, Alert.assigned_to),
            Field("threatDisplayName", Kind.TEXT, Alert.threat_name),
            Field("threatFamilyName", Kind.TEXT, Alert.threat_family_name),
            Field("createdDateTime", Kind.TIME, Alert.alert_creation_time),
            Field("lastUpdateDateTime", Kind.TIME, Alert.last_update_time),
            Field("resolvedDateTime", Kind.TIME, Alert.resolved_time),
            Field("firstActivityDateTime", Kind.TIME, Alert.first_event_time),
            Field("lastActivityDateTime", Kind.TIME, Alert.last_event_time),
        ]
    ),
    lists={"mitretechniques": JsonList("mitreTechniques", Alert.mitre_techniques)},
    order=(("createdDateTime", True),),
    # What belongs to an alert always comes with it.
    expand=frozenset({"evidence", "comments"}),
    page_limit=2000,
)

INCIDENTS = EntitySet(
    "incidents",
    Incident,
    "id",
    by_name(
        [
            Field("id", Kind.NUMBER, Incident.id),
            Field("tenantId", Kind.LOWER, Incident.tenant_id),
            Field("redirectIncidentId", Kind.NUMBER, Incident.redirect_incident_id),
            Field("displayName", Kind.TEXT, Incident.name),
            Field("createdDateTime", Kind.TIME, Incident.created_time),
            Field("lastUpdateDateTime", Kind.TIME, Incident.last_update_time),
            Field("assignedTo", Kind.TEXT, Incident.assigned_to),
            Field("status", Kind.CHOICE, Incident.status, INCIDENT_STATUSES),
            Field("severity", Kind.CHOICE, Incident.severity, SEVERITIES, SEVERITY),
            Field("classification", Kind.CHOICE, Incident.classification, *_CLASSIFIED),
            Field("determination", Kind.CHOICE, Incident.determination, DETERMINATIONS, DETERMINATION),
        ]
    ),
    lists={"customtags": JsonList("customTags", Incident.tags)},
    order=(("createdDateTime", True),),
    expand=frozenset({"alerts"}),
    page_limit=50,
)
