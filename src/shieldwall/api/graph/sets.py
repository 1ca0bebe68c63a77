"""Graph's collections as data: its names for the columns, its spellings for their values."""

from __future__ import annotations

from sqlalchemy import String, literal

from shieldwall.alerts.models import Alert, Incident
from shieldwall.api.graph import words
from shieldwall.api.odata import fields
from shieldwall.api.odata.fields import EntitySet, JsonList, by_name
from shieldwall.api.sets import judged
from shieldwall.api.vocabulary import ALERT_STATUSES, DETERMINATION_WORDS, INCIDENT_STATUSES, SEVERITIES

DETERMINATION = DETERMINATION_WORDS | words.kept(words.DETERMINATIONS)
SEVERITY = {name.lower(): name for name in SEVERITIES} | words.kept(words.SEVERITIES)

_SOURCES = words.kept(words.DETECTION_SOURCES)

ALERTS = EntitySet(
    "alerts_v2",
    Alert,
    "id",
    by_name(
        [
            fields.exact("id", Alert.id),
            fields.exact("providerAlertId", Alert.id),
            fields.number("incidentId", Alert.incident_id),
            *judged(Alert, ALERT_STATUSES, SEVERITY, DETERMINATION),
            fields.text("serviceSource", literal(words.SERVICE_SOURCE, String)),
            fields.text("productName", literal(words.PRODUCT, String)),
            fields.choice("detectionSource", Alert.detection_source, words=_SOURCES),
            fields.text("detectorId", Alert.detector_id),
            fields.lower("tenantId", Alert.tenant_id),
            fields.text("title", Alert.title),
            fields.text("description", Alert.description),
            fields.text("category", Alert.category),
            fields.text("threatDisplayName", Alert.threat_name),
            fields.text("threatFamilyName", Alert.threat_family_name),
            fields.time("createdDateTime", Alert.alert_creation_time),
            fields.time("lastUpdateDateTime", Alert.last_update_time),
            fields.time("resolvedDateTime", Alert.resolved_time),
            fields.time("firstActivityDateTime", Alert.first_event_time),
            fields.time("lastActivityDateTime", Alert.last_event_time),
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
            fields.number("id", Incident.id),
            fields.lower("tenantId", Incident.tenant_id),
            fields.number("redirectIncidentId", Incident.redirect_incident_id),
            fields.text("displayName", Incident.name),
            fields.time("createdDateTime", Incident.created_time),
            fields.time("lastUpdateDateTime", Incident.last_update_time),
            *judged(Incident, INCIDENT_STATUSES, SEVERITY, DETERMINATION),
        ]
    ),
    lists={"customtags": JsonList("customTags", Incident.tags)},
    order=(("createdDateTime", True),),
    expand=frozenset({"alerts"}),
    page_limit=50,
)
