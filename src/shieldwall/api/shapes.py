"""How each entity looks in an answer: every documented property, null where there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row

from shieldwall.alerts.models import Alert, AlertComment, Evidence
from shieldwall.api.answers import Entity
from shieldwall.detection.models import Indicator
from shieldwall.devices.models import Device
from shieldwall.investigations.models import Investigation
from shieldwall.response.library import LibraryFile
from shieldwall.response.models import MachineAction
from shieldwall.times import to_text


def time_text(value: datetime | None) -> str | None:
    return None if value is None else to_text(value)


def alert(
    row: Alert | Row[Any],
    evidence_rows: Sequence[Evidence | Row[Any]] | None,
    comments: Sequence[AlertComment | Row[Any]] | None = None,
) -> Entity:
    """An alert; without evidence its list is there and empty. A bare row is given its ``comments``."""
    return {
        "id": row.id,
        "incidentId": row.incident_id,
        "investigationId": row.investigation_id,
        "assignedTo": row.assigned_to,
        "severity": row.severity,
        "status": row.status,
        "classification": row.classification,
        "determination": row.determination,
        "investigationState": row.investigation_state,
        "detectionSource": row.detection_source,
        "detectorId": row.detector_id,
        "category": row.category,
        "threatFamilyName": row.threat_family_name,
        "title": row.title,
        "description": row.description,
        "alertCreationTime": to_text(row.alert_creation_time),
        "firstEventTime": time_text(row.first_event_time),
        "lastEventTime": time_text(row.last_event_time),
        "lastUpdateTime": to_text(row.last_update_time),
        "resolvedTime": time_text(row.resolved_time),
        "machineId": row.machine_id,
        "computerDnsName": row.computer_dns_name,
        "rbacGroupName": row.rbac_group_name,
        "aadTenantId": row.tenant_id,
        "threatName": row.threat_name,
        "mitreTechniques": row.mitre_techniques,
        "relatedUser": row.related_user,
        "loggedOnUsers": row.logged_on_users,
        "comments": [comment(item) for item in (row.comments if comments is None else comments)],
        "evidence": [evidence(item) for item in evidence_rows or ()],
        "domains": [{"host": host} for host in hosts(evidence_rows or ())],
    }


def comment(row: AlertComment | Row[Any]) -> Entity:
    return {"comment": row.comment, "createdBy": row.created_by, "createdTime": to_text(row.created_time)}


def evidence(row: Evidence | Row[Any]) -> Entity:
    return {
        "entityType": row.entity_type,
        "evidenceCreationTime": to_text(row.evidence_creation_time),
        "sha1": row.sha1,
        "sha256": row.sha256,
        "fileName": row.file_name,
        "filePath": row.file_path,
        "processId": row.process_id,
        "processCommandLine": row.process_command_line,
        "processCreationTime": time_text(row.process_creation_time),
        "parentProcessId": row.parent_process_id,
        "parentProcessCreationTime": time_text(row.parent_process_creation_time),
        "parentProcessFileName": row.parent_process_file_name,
        "parentProcessFilePath": row.parent_process_file_path,
        "ipAddress": row.ip_address,
        "url": row.url,
        "registryKey": row.registry_key,
        "registryHive": row.registry_hive,
        "registryValueType": row.registry_value_type,
        "registryValue": row.registry_value,
        "accountName": row.account_name,
        "domainName": row.domain_name,
        "userSid": row.user_sid,
        "aadUserId": row.aad_user_id,
        "userPrincipalName": row.user_principal_name,
        "detectionStatus": row.detection_status,
    }


def hosts(rows: Iterable[Evidence | Row[Any]]) -> list[str]:
    """Names of the hosts in the URLs of an alert's evidence, each once, in lower case."""
    found: dict[str, None] = {}
    for row in rows:
        if row.url:
            try:
                host = urlsplit(row.url if "//" in row.url else f"//{row.url}").hostname
            except ValueError:
                continue
            if host:
                found[host] = None
    return list(found)


def machine(row: Device) -> Entity:
    return {
        "id": row.id,
        "mergedIntoMachineId": row.merged_into_machine_id,
        "isPotentialDuplication": row.is_potential_duplication,
        "isExcluded": row.is_excluded,
        "exclusionReason": row.exclusion_reason,
        "computerDnsName": row.computer_dns_name,
        "firstSeen": to_text(row.first_seen),
        "lastSeen": to_text(row.last_seen),
        "osPlatform": row.os_platform,
        "osVersion": row.os_version,
        "osProcessor": row.os_processor,
        "version": row.version,
        "lastIpAddress": row.last_ip_address,
        "lastExternalIpAddress": row.last_external_ip_address,
        "agentVersion": row.agent_version,
        "osBuild": row.os_build,
        "healthStatus": row.health_status,
        "deviceValue": row.device_value,
        "rbacGroupId": row.device_group_id or 0,
        "rbacGroupName": row.group.name if row.group else None,
        "riskScore": row.risk_score,
        "exposureLevel": row.exposure_level,
        "isAadJoined": row.is_aad_joined,
        "aadDeviceId": row.aad_device_id,
        "machineTags": [tag.tag for tag in row.tags],
        "defenderAvStatus": row.defender_av_status,
        "onboardingStatus": row.onboarding_status,
        "osArchitecture": row.os_architecture,
        "managedBy": row.managed_by,
        "managedByStatus": row.managed_by_status,
        "ipAddresses": row.ip_addresses or [],
        "vmMetadata": row.vm_metadata,
    }


def machine_action(row: MachineAction) -> Entity:
    """A machine action; the time of the last update has both names under which clients look for it."""
    file = row.related_file_identifier
    return {
        "id": row.id,
        "type": row.type,
        "title": row.title,
        "scope": row.scope,
        "requestor": row.requestor,
        "requestorComment": row.requestor_comment,
        "requestSource": row.request_source,
        "externalId": row.external_id,
        "status": row.status,
        "machineId": row.machine_id,
        "computerDnsName": row.computer_dns_name,
        "creationDateTimeUtc": to_text(row.creation_time),
        "lastUpdateDateTimeUtc": to_text(row.last_update_time),
        "lastUpdateTimeUtc": to_text(row.last_update_time),
        "cancellationRequestor": row.cancellation_requestor,
        "cancellationComment": row.cancellation_comment,
        "cancellationDateTimeUtc": time_text(row.cancellation_time),
        "errorHResult": row.error_hresult,
        "relatedFileInfo": file
        and {"fileIdentifier": file, "fileIdentifierType": row.related_file_identifier_type},
        "commands": row.commands,
        "troubleshootInfo": row.troubleshoot_info,
    }


def investigation(row: Investigation) -> Entity:
    return {
        "id": str(row.id),
        "startTime": to_text(row.start_time),
        "endTime": time_text(row.end_time),
        "state": row.state,
        "cancelledBy": row.cancelled_by,
        "statusDetails": row.status_details,
        "machineId": row.machine_id,
        "computerDnsName": row.computer_dns_name,
        "triggeringAlertId": row.triggering_alert_id,
    }


def library_file(row: LibraryFile) -> Entity:
    return {
        "fileName": row.file_name,
        "sha256": row.sha256,
        "description": row.description,
        "creationTime": to_text(row.creation_time),
        "lastUpdatedTime": to_text(row.last_updated_time),
        "createdBy": row.created_by,
        "hasParameters": row.has_parameters,
        "parametersDescription": row.parameters_description,
    }


def indicator(row: Indicator, group_ids: Mapping[str, int]) -> Entity:
    """An indicator; ``group_ids`` are the tenant's device groups by name."""
    return {
        "id": str(row.id),
        "indicatorValue": row.indicator_value,
        "indicatorType": row.indicator_type,
        "action": row.action,
        "application": row.application,
        "source": row.source,
        "sourceType": row.source_type,
        "createdBySource": row.created_by_source,
        "createdBy": row.created_by,
        "createdByDisplayName": row.created_by_display_name,
        "lastUpdatedBy": row.last_updated_by,
        "creationTimeDateTimeUtc": to_text(row.creation_time),
        "expirationTime": time_text(row.expiration_time),
        "lastUpdateTime": to_text(row.last_update_time),
        "severity": row.severity,
        "title": row.title,
        "description": row.description,
        "recommendedActions": row.recommended_actions,
        "rbacGroupNames": row.rbac_group_names,
        "rbacGroupIds": [group_ids[name] for name in row.rbac_group_names if name in group_ids],
        "generateAlert": row.generate_alert,
        "externalId": row.external_id,
        "educateUrl": row.educate_url,
        "category": row.category,
        "mitreTechniques": row.mitre_techniques,
        "historicalDetection": row.historical_detection,
        "lookBackPeriod": None,
        "bypassDurationHours": row.bypass_duration_hours,
        "notificationId": None,
        "notificationBody": None,
        "version": None,
        "additionalInfo": None,
        "certificateInfo": None,
    }


def file(row: Evidence) -> Entity:
    """A file as far as an alert's evidence knows it."""
    return {
        "sha1": row.sha1,
        "sha256": row.sha256,
        "md5": row.md5,
        "globalPrevalence": None,
        "globalFirstObserved": None,
        "globalLastObserved": None,
        "size": None,
        "fileType": None,
        "isPeFile": False,
        "filePublisher": None,
        "fileProductName": None,
        "signer": None,
        "issuer": None,
        "signerHash": None,
        "isValidCertificate": None,
        "determinationType": "Unknown",
        "determinationValue": None,
    }
