"""How each entity looks in an answer: every documented property, null where there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from shieldwall.alerts.models import Alert, AlertComment, Evidence
from shieldwall.api.answers import Entity
from shieldwall.api.columns import Columns
from shieldwall.detection.models import Indicator
from shieldwall.devices.models import Device
from shieldwall.investigations.models import Investigation
from shieldwall.response.library import LibraryFile
from shieldwall.response.models import MachineAction
from shieldwall.times import to_text


def time_text(value: datetime | None) -> str | None:
    return None if value is None else to_text(value)


ALERT = Columns(
    id=Alert.id,
    incidentId=Alert.incident_id,
    investigationId=Alert.investigation_id,
    assignedTo=Alert.assigned_to,
    severity=Alert.severity,
    status=Alert.status,
    classification=Alert.classification,
    determination=Alert.determination,
    investigationState=Alert.investigation_state,
    detectionSource=Alert.detection_source,
    detectorId=Alert.detector_id,
    category=Alert.category,
    threatFamilyName=Alert.threat_family_name,
    title=Alert.title,
    description=Alert.description,
    alertCreationTime=Alert.alert_creation_time,
    firstEventTime=Alert.first_event_time,
    lastEventTime=Alert.last_event_time,
    lastUpdateTime=Alert.last_update_time,
    resolvedTime=Alert.resolved_time,
    machineId=Alert.machine_id,
    computerDnsName=Alert.computer_dns_name,
    rbacGroupName=Alert.rbac_group_name,
    aadTenantId=Alert.tenant_id,
    threatName=Alert.threat_name,
    mitreTechniques=Alert.mitre_techniques,
    relatedUser=Alert.related_user,
    loggedOnUsers=Alert.logged_on_users,
)
COMMENT = Columns(
    comment=AlertComment.comment,
    createdBy=AlertComment.created_by,
    createdTime=AlertComment.created_time,
)
EVIDENCE = Columns(
    entityType=Evidence.entity_type,
    evidenceCreationTime=Evidence.evidence_creation_time,
    sha1=Evidence.sha1,
    sha256=Evidence.sha256,
    fileName=Evidence.file_name,
    filePath=Evidence.file_path,
    processId=Evidence.process_id,
    processCommandLine=Evidence.process_command_line,
    processCreationTime=Evidence.process_creation_time,
    parentProcessId=Evidence.parent_process_id,
    parentProcessCreationTime=Evidence.parent_process_creation_time,
    parentProcessFileName=Evidence.parent_process_file_name,
    parentProcessFilePath=Evidence.parent_process_file_path,
    ipAddress=Evidence.ip_address,
    url=Evidence.url,
    registryKey=Evidence.registry_key,
    registryHive=Evidence.registry_hive,
    registryValueType=Evidence.registry_value_type,
    registryValue=Evidence.registry_value,
    accountName=Evidence.account_name,
    domainName=Evidence.domain_name,
    userSid=Evidence.user_sid,
    aadUserId=Evidence.aad_user_id,
    userPrincipalName=Evidence.user_principal_name,
    detectionStatus=Evidence.detection_status,
)


def alert(row: Alert, evidence_rows: Sequence[Evidence]) -> Entity:
    """An alert with its evidence and comments."""
    evidence = [EVIDENCE.of(item) for item in evidence_rows]
    return alert_with(ALERT.of(row), evidence, [COMMENT.of(item) for item in row.comments])


def alert_with(facts: Entity, evidence: Sequence[Entity], comments: Sequence[Entity]) -> Entity:
    """The ``facts`` of an alert with what belongs to it; lists are there even when they are empty."""
    facts["comments"] = comments
    facts["evidence"] = evidence
    facts["domains"] = [{"host": host} for host in hosts(item["url"] for item in evidence)]
    return facts


def hosts(urls: Iterable[str | None]) -> list[str]:
    """Names of the hosts in URLs, each once, in lower case."""
    found: dict[str, None] = {}
    for url in urls:
        if url:
            try:
                host = urlsplit(url if "//" in url else f"//{url}").hostname
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
