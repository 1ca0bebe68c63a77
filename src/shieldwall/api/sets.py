"""The collections of the API as data: which property is which column, and how it is compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, select

from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.api.odata.fields import Column, EntitySet, Field, JsonList, Kind, Rows, by_name
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


def _text(name: str, column: Column) -> Field:
    return Field(name, Kind.TEXT, column)


def _lower(name: str, column: Column) -> Field:
    return Field(name, Kind.LOWER, column)


def _time(name: str, column: Column) -> Field:
    return Field(name, Kind.TIME, column)


def _number(name: str, column: Column) -> Field:
    return Field(name, Kind.NUMBER, column)


def _flag(name: str, column: Column) -> Field:
    return Field(name, Kind.FLAG, column)


def _choice(name: str, column: Column, *choices: str, words: Mapping[str, str] | None = None) -> Field:
    return Field(name, Kind.CHOICE, column, choices, words or {})


EVIDENCE = Rows(
    "evidence",
    Evidence.id,
    Evidence.alert_id == Alert.id,
    by_name(
        [
            _text("entityType", Evidence.entity_type),
            _time("evidenceCreationTime", Evidence.evidence_creation_time),
            _lower("sha1", Evidence.sha1),
            _lower("sha256", Evidence.sha256),
            _text("fileName", Evidence.file_name),
            _text("filePath", Evidence.file_path),
            _number("processId", Evidence.process_id),
            _text("processCommandLine", Evidence.process_command_line),
            _time("processCreationTime", Evidence.process_creation_time),
            _number("parentProcessId", Evidence.parent_process_id),
            _text("parentProcessFileName", Evidence.parent_process_file_name),
            _text("ipAddress", Evidence.ip_address),
            _text("url", Evidence.url),
            _text("accountName", Evidence.account_name),
            _text("domainName", Evidence.domain_name),
            _text("userSid", Evidence.user_sid),
            _text("detectionStatus", Evidence.detection_status),
        ]
    ),
)

ALERTS = EntitySet(
    "Alerts",
    Alert,
    "id",
    by_name(
        [
            Field("id", Kind.EXACT, Alert.id),
            _number("incidentId", Alert.incident_id),
            _number("investigationId", Alert.investigation_id),
            _text("assignedTo", Alert.assigned_to),
            _choice("severity", Alert.severity, *SEVERITIES),
            _choice("status", Alert.status, *ALERT_STATUSES),
            _choice("classification", Alert.classification, *CLASSIFICATIONS, words=CLASSIFICATION_WORDS),
            _choice("determination", Alert.determination, *DETERMINATIONS, words=DETERMINATION_WORDS),
            _text("investigationState", Alert.investigation_state),
            _text("detectionSource", Alert.detection_source),
            _text("detectorId", Alert.detector_id),
            _text("category", Alert.category),
            _text("threatFamilyName", Alert.threat_family_name),
            _text("threatName", Alert.threat_name),
            _text("title", Alert.title),
            _text("description", Alert.description),
            _time("alertCreationTime", Alert.alert_creation_time),
            _time("firstEventTime", Alert.first_event_time),
            _time("lastEventTime", Alert.last_event_time),
            _time("lastUpdateTime", Alert.last_update_time),
            _time("resolvedTime", Alert.resolved_time),
            _lower("machineId", Alert.machine_id),
            _text("computerDnsName", Alert.computer_dns_name),
            _text("rbacGroupName", Alert.rbac_group_name),
            _lower("aadTenantId", Alert.tenant_id),
            _text("relatedUser/userName", Alert.related_user["userName"].as_string()),
            _text("relatedUser/domainName", Alert.related_user["domainName"].as_string()),
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
            _lower("id", Device.id),
            _lower("mergedIntoMachineId", Device.merged_into_machine_id),
            _flag("isPotentialDuplication", Device.is_potential_duplication),
            _flag("isExcluded", Device.is_excluded),
            _text("computerDnsName", Device.computer_dns_name),
            _time("firstSeen", Device.first_seen),
            _time("lastSeen", Device.last_seen),
            _text("osPlatform", Device.os_platform),
            _text("osVersion", Device.os_version),
            _text("osProcessor", Device.os_processor),
            _text("osArchitecture", Device.os_architecture),
            _number("osBuild", Device.os_build),
            _text("version", Device.version),
            _text("agentVersion", Device.agent_version),
            _text("lastIpAddress", Device.last_ip_address),
            _text("lastExternalIpAddress", Device.last_external_ip_address),
            _text("healthStatus", Device.health_status),
            _text("onboardingStatus", Device.onboarding_status),
            _choice("deviceValue", Device.device_value, *DEVICE_VALUES),
            _choice("riskScore", Device.risk_score, *LEVELS),
            _choice("exposureLevel", Device.exposure_level, *LEVELS),
            _number("rbacGroupId", func.coalesce(Device.device_group_id, 0)),
            _text("rbacGroupName", _group_name()),
            _flag("isAadJoined", Device.is_aad_joined),
            _lower("aadDeviceId", Device.aad_device_id),
            _text("managedBy", Device.managed_by),
            _text("defenderAvStatus", Device.defender_av_status),
        ]
    ),
    lists={
        "machinetags": Rows(
            "machineTags",
            DeviceTag.tag,
            DeviceTag.device_id == Device.id,
            by_name([_text("", DeviceTag.tag)]),
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
            _lower("id", MachineAction.id),
            _text("type", MachineAction.type),
            _text("title", MachineAction.title),
            _text("scope", MachineAction.scope),
            _text("requestor", MachineAction.requestor),
            _text("requestorComment", MachineAction.requestor_comment),
            _text("requestSource", MachineAction.request_source),
            _text("externalId", MachineAction.external_id),
            _choice("status", MachineAction.status, *ACTION_STATUSES),
            _lower("machineId", MachineAction.machine_id),
            _text("computerDnsName", MachineAction.computer_dns_name),
            _time("creationDateTimeUtc", MachineAction.creation_time),
            _time("lastUpdateDateTimeUtc", MachineAction.last_update_time),
            _time("cancellationDateTimeUtc", MachineAction.cancellation_time),
            _number("errorHResult", MachineAction.error_hresult),
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
            _text("fileName", LibraryFile.file_name),
            _lower("sha256", LibraryFile.sha256),
            _text("description", LibraryFile.description),
            _time("creationTime", LibraryFile.creation_time),
            _time("lastUpdatedTime", LibraryFile.last_updated_time),
            _text("createdBy", LibraryFile.created_by),
            _flag("hasParameters", LibraryFile.has_parameters),
            _text("parametersDescription", LibraryFile.parameters_description),
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
            _text("id", func.lower(cast(Investigation.id, String))),
            _time("startTime", Investigation.start_time),
            _time("endTime", Investigation.end_time),
            _choice("state", Investigation.state, *INVESTIGATION_STATES),
            _text("cancelledBy", Investigation.cancelled_by),
            _text("statusDetails", Investigation.status_details),
            _lower("machineId", Investigation.machine_id),
            _text("computerDnsName", Investigation.computer_dns_name),
            Field("triggeringAlertId", Kind.EXACT, Investigation.triggering_alert_id),
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
            _number("id", Indicator.id),
            _text("indicatorValue", Indicator.indicator_value),
            _text("indicatorType", Indicator.indicator_type),
            _text("action", Indicator.action),
            _text("application", Indicator.application),
            _text("title", Indicator.title),
            _text("description", Indicator.description),
            _choice("severity", Indicator.severity, *SEVERITIES),
            _time("expirationTime", Indicator.expiration_time),
            _time("creationTimeDateTimeUtc", Indicator.creation_time),
            _time("lastUpdateTime", Indicator.last_update_time),
            _flag("generateAlert", Indicator.generate_alert),
            _text("createdBy", Indicator.created_by),
            _text("createdByDisplayName", Indicator.created_by_display_name),
            _text("createdBySource", Indicator.created_by_source),
            _text("lastUpdatedBy", Indicator.last_updated_by),
            _text("source", Indicator.source),
            _text("sourceType", Indicator.source_type),
            _text("externalId", Indicator.external_id),
            _number("category", Indicator.category),
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
            _number("incidentId", Incident.id),
            _number("redirectIncidentId", Incident.redirect_incident_id),
            _text("incidentName", Incident.name),
            _time("createdTime", Incident.created_time),
            _time("lastUpdateTime", Incident.last_update_time),
            _text("assignedTo", Incident.assigned_to),
            _choice("severity", Incident.severity, *SEVERITIES),
            _choice("status", Incident.status, *INCIDENT_STATUSES),
            _choice("classification", Incident.classification, *CLASSIFICATIONS, words=CLASSIFICATION_WORDS),
            _choice("determination", Incident.determination, *DETERMINATIONS, words=DETERMINATION_WORDS),
        ]
    ),
    lists={"tags": JsonList("tags", Incident.tags)},
    order=(("createdTime", True),),
    expand=frozenset({"alerts", "comments"}),
    page_limit=100,
)
