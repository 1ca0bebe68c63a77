"""The collections of the API as data: which property is which column, and how it is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, select

from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.api.odata import fields
from shieldwall.api.odata.fields import EntitySet, Field, JsonList, Rows, by_name
from shieldwall.api.vocabulary import (
    ALERT_STATUSES,
    CLASSIFICATION_WORDS,
    CLASSIFICATIONS,
    DETERMINATION_WORDS,
    DETERMINATIONS,
    INCIDENT_STATUSES,
    SEVERITIES,
)
from shieldwall.detection.models import Indicator
from shieldwall.devices.models import Device, DeviceGroup, DeviceTag
from shieldwall.investigations.models import Investigation
from shieldwall.response.library import LibraryFile
from shieldwall.response.models import MachineAction

INVESTIGATION_STATES = (
    "Unknown",
    "Terminated",
    "SuccessfullyRemediated",
    "Benign",
    "Failed",
    "PartiallyRemediated",
    "Running",
    "PendingApproval",
    "PendingResource",
    "PartiallyInvestigated",
    "TerminatedByUser",
    "TerminatedBySystem",
    "Queued",
    "InnerFailure",
    "PreexistingAlert",
    "UnsupportedOs",
    "UnsupportedAlertType",
    "SuppressedAlert",
)
DEVICE_VALUES = ("Normal", "Low", "High")
LEVELS = ("None", "Informational", "Low", "Medium", "High")
ACTION_STATUSES = ("Pending", "InProgress", "Succeeded", "Failed", "TimeOut", "Cancelled")


def judged(
    model: type[Alert | Incident],
    statuses: Sequence[str],
    severities: Mapping[str, str] | None = None,
    determinations: Mapping[str, str] = DETERMINATION_WORDS,
) -> tuple[Field, ...]:
    """What analysts say of an alert or an incident; the mappings are further spellings."""
    return (
        fields.text("assignedTo", model.assigned_to),
        fields.choice("severity", model.severity, *SEVERITIES, words=severities),
        fields.choice("status", model.status, *statuses),
        fields.choice("classification", model.classification, *CLASSIFICATIONS, words=CLASSIFICATION_WORDS),
        fields.choice("determination", model.determination, *DETERMINATIONS, words=determinations),
    )


EVIDENCE = Rows(
    "evidence",
    Evidence.id,
    Evidence.alert_id == Alert.id,
    by_name(
        [
            fields.text("entityType", Evidence.entity_type),
            fields.time("evidenceCreationTime", Evidence.evidence_creation_time),
            fields.lower("sha1", Evidence.sha1),
            fields.lower("sha256", Evidence.sha256),
            fields.text("fileName", Evidence.file_name),
            fields.text("filePath", Evidence.file_path),
            fields.number("processId", Evidence.process_id),
            fields.text("processCommandLine", Evidence.process_command_line),
            fields.time("processCreationTime", Evidence.process_creation_time),
            fields.number("parentProcessId", Evidence.parent_process_id),
            fields.text("parentProcessFileName", Evidence.parent_process_file_name),
            fields.text("ipAddress", Evidence.ip_address),
            fields.text("url", Evidence.url),
            fields.text("accountName", Evidence.account_name),
            fields.text("domainName", Evidence.domain_name),
            fields.text("userSid", Evidence.user_sid),
            fields.text("detectionStatus", Evidence.detection_status),
        ]
    ),
)

ALERTS = EntitySet(
    "Alerts",
    Alert,
    "id",
    by_name(
        [
            fields.exact("id", Alert.id),
            fields.number("incidentId", Alert.incident_id),
            fields.number("investigationId", Alert.investigation_id),
            *judged(Alert, ALERT_STATUSES),
            fields.text("investigationState", Alert.investigation_state),
            fields.text("detectionSource", Alert.detection_source),
            fields.text("detectorId", Alert.detector_id),
            fields.text("category", Alert.category),
            fields.text("threatFamilyName", Alert.threat_family_name),
            fields.text("threatName", Alert.threat_name),
            fields.text("title", Alert.title),
            fields.text("description", Alert.description),
            fields.time("alertCreationTime", Alert.alert_creation_time),
            fields.time("firstEventTime", Alert.first_event_time),
            fields.time("lastEventTime", Alert.last_event_time),
            fields.time("lastUpdateTime", Alert.last_update_time),
            fields.time("resolvedTime", Alert.resolved_time),
            fields.lower("machineId", Alert.machine_id),
            fields.text("computerDnsName", Alert.computer_dns_name),
            fields.text("rbacGroupName", Alert.rbac_group_name),
            fields.lower("aadTenantId", Alert.tenant_id),
            fields.text("relatedUser/userName", Alert.related_user["userName"].as_string()),
            fields.text("relatedUser/domainName", Alert.related_user["domainName"].as_string()),
        ]
    ),
    lists={
        "evidence": EVIDENCE,
        "mitretechniques": JsonList("mitreTechniques", Alert.mitre_techniques),
    },
    # Splunk's app filters by these names; the documentation of the service once misspelled the third.
    aliases={"deviceids": "machineId", "severities": "severity", "asssignedto": "assignedTo"},
    order=(("alertCreationTime", True),),
    # Comments are always there; asking for them is no error.
    expand=frozenset({"evidence", "comments"}),
)


def _group_name() -> ColumnElement[Any]:
    return select(DeviceGroup.name).where(DeviceGroup.id == Device.device_group_id).scalar_subquery()


MACHINES = EntitySet(
    "Machines",
    Device,
    "id",
    by_name(
        [
            fields.lower("id", Device.id),
            fields.lower("mergedIntoMachineId", Device.merged_into_machine_id),
            fields.flag("isPotentialDuplication", Device.is_potential_duplication),
            fields.flag("isExcluded", Device.is_excluded),
            fields.text("computerDnsName", Device.computer_dns_name),
            fields.time("firstSeen", Device.first_seen),
            fields.time("lastSeen", Device.last_seen),
            fields.text("osPlatform", Device.os_platform),
            fields.text("osVersion", Device.os_version),
            fields.text("osProcessor", Device.os_processor),
            fields.text("osArchitecture", Device.os_architecture),
            fields.number("osBuild", Device.os_build),
            fields.text("version", Device.version),
            fields.text("agentVersion", Device.agent_version),
            fields.text("lastIpAddress", Device.last_ip_address),
            fields.text("lastExternalIpAddress", Device.last_external_ip_address),
            fields.text("healthStatus", Device.health_status),
            fields.text("onboardingStatus", Device.onboarding_status),
            fields.choice("deviceValue", Device.device_value, *DEVICE_VALUES),
            fields.choice("riskScore", Device.risk_score, *LEVELS),
            fields.choice("exposureLevel", Device.exposure_level, *LEVELS),
            fields.number("rbacGroupId", func.coalesce(Device.device_group_id, 0)),
            fields.text("rbacGroupName", _group_name()),
            fields.flag("isAadJoined", Device.is_aad_joined),
            fields.lower("aadDeviceId", Device.aad_device_id),
            fields.text("managedBy", Device.managed_by),
            fields.text("defenderAvStatus", Device.defender_av_status),
        ]
    ),
    lists={
        "machinetags": Rows(
            "machineTags",
            DeviceTag.tag,
            DeviceTag.device_id == Device.id,
            by_name([fields.text("", DeviceTag.tag)]),
        )
    },
    order=(("id", False),),
)

MACHINE_ACTIONS = EntitySet(
    "MachineActions",
    MachineAction,
    "id",
    by_name(
        [
            fields.lower("id", MachineAction.id),
            fields.text("type", MachineAction.type),
            fields.text("title", MachineAction.title),
            fields.text("scope", MachineAction.scope),
            fields.text("requestor", MachineAction.requestor),
            fields.text("requestorComment", MachineAction.requestor_comment),
            fields.text("requestSource", MachineAction.request_source),
            fields.text("externalId", MachineAction.external_id),
            fields.choice("status", MachineAction.status, *ACTION_STATUSES),
            fields.lower("machineId", MachineAction.machine_id),
            fields.text("computerDnsName", MachineAction.computer_dns_name),
            fields.time("creationDateTimeUtc", MachineAction.creation_time),
            fields.time("lastUpdateDateTimeUtc", MachineAction.last_update_time),
            fields.time("cancellationDateTimeUtc", MachineAction.cancellation_time),
            fields.number("errorHResult", MachineAction.error_hresult),
        ]
    ),
    aliases={"lastupdatetimeutc": "lastUpdateDateTimeUtc", "creationdatetime": "creationDateTimeUtc"},
    order=(("creationDateTimeUtc", True),),
)

LIBRARY_FILES = EntitySet(
    "LibraryFiles",
    LibraryFile,
    "fileName",
    by_name(
        [
            fields.text("fileName", LibraryFile.file_name),
            fields.lower("sha256", LibraryFile.sha256),
            fields.text("description", LibraryFile.description),
            fields.time("creationTime", LibraryFile.creation_time),
            fields.time("lastUpdatedTime", LibraryFile.last_updated_time),
            fields.text("createdBy", LibraryFile.created_by),
            fields.flag("hasParameters", LibraryFile.has_parameters),
            fields.text("parametersDescription", LibraryFile.parameters_description),
        ]
    ),
    order=(("fileName", False),),
)

INVESTIGATIONS = EntitySet(
    "Investigations",
    Investigation,
    "id",
    by_name(
        [
            # A text, as it is shown, that has digits only.
            fields.text("id", func.lower(cast(Investigation.id, String))),
            fields.time("startTime", Investigation.start_time),
            fields.time("endTime", Investigation.end_time),
            fields.choice("state", Investigation.state, *INVESTIGATION_STATES),
            fields.text("cancelledBy", Investigation.cancelled_by),
            fields.text("statusDetails", Investigation.status_details),
            fields.lower("machineId", Investigation.machine_id),
            fields.text("computerDnsName", Investigation.computer_dns_name),
            fields.exact("triggeringAlertId", Investigation.triggering_alert_id),
        ]
    ),
    order=(("startTime", True),),
)

INDICATORS = EntitySet(
    "Indicators",
    Indicator,
    "id",
    by_name(
        [
            fields.number("id", Indicator.id),
            fields.text("indicatorValue", Indicator.indicator_value),
            fields.text("indicatorType", Indicator.indicator_type),
            fields.text("action", Indicator.action),
            fields.text("application", Indicator.application),
            fields.text("title", Indicator.title),
            fields.text("description", Indicator.description),
            fields.choice("severity", Indicator.severity, *SEVERITIES),
            fields.time("expirationTime", Indicator.expiration_time),
            fields.time("creationTimeDateTimeUtc", Indicator.creation_time),
            fields.time("lastUpdateTime", Indicator.last_update_time),
            fields.flag("generateAlert", Indicator.generate_alert),
            fields.text("createdBy", Indicator.created_by),
            fields.text("createdByDisplayName", Indicator.created_by_display_name),
            fields.text("createdBySource", Indicator.created_by_source),
            fields.text("lastUpdatedBy", Indicator.last_updated_by),
            fields.text("source", Indicator.source),
            fields.text("sourceType", Indicator.source_type),
            fields.text("externalId", Indicator.external_id),
            fields.number("category", Indicator.category),
        ]
    ),
    lists={
        "rbacgroupnames": JsonList("rbacGroupNames", Indicator.rbac_group_names),
        "mitretechniques": JsonList("mitreTechniques", Indicator.mitre_techniques),
    },
    order=(("id", False),),
)

INCIDENTS = EntitySet(
    "Incidents",
    Incident,
    "incidentId",
    by_name(
        [
            fields.number("incidentId", Incident.id),
            fields.number("redirectIncidentId", Incident.redirect_incident_id),
            fields.text("incidentName", Incident.name),
            fields.time("createdTime", Incident.created_time),
            fields.time("lastUpdateTime", Incident.last_update_time),
            *judged(Incident, INCIDENT_STATUSES),
        ]
    ),
    lists={"tags": JsonList("tags", Incident.tags)},
    order=(("createdTime", True),),
    expand=frozenset({"alerts", "comments"}),
    page_limit=100,
)
