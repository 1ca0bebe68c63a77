"""How incidents and the alerts inside them look: the same alerts as elsewhere, in other words."""

from __future__ import annotations

from collections.abc import Sequence

from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.api.answers import Entity
from shieldwall.api.shapes import time_text
from shieldwall.detection.external.models import ReceivedAlert
from shieldwall.devices.models import Device
from shieldwall.times import to_text

SERVICE_SOURCE = "MicrosoftDefenderForEndpoint"
"""The name under which clients know endpoint alerts."""


def incident(row: Incident, alerts: Sequence[Entity]) -> Entity:
    return {
        "incidentId": row.id,
        "incidentUri": None,
        "redirectIncidentId": row.redirect_incident_id,
        "incidentName": row.name,
        "createdTime": to_text(row.created_time),
        "lastUpdateTime": to_text(row.last_update_time),
        "assignedTo": row.assigned_to,
        "classification": row.classification,
        "determination": row.determination,
        "status": row.status,
        "severity": row.severity,
        "tags": row.tags,
        "comments": row.comments,
        "alerts": alerts,
    }


def alert(
    row: Alert, evidence: Sequence[Evidence], on: Device | None, received: ReceivedAlert | None = None
) -> Entity:
    return {
        "alertId": row.id,
        "providerAlertId": (received.partner_id if received else None) or row.id,
        "incidentId": row.incident_id,
        "serviceSource": SERVICE_SOURCE,
        "creationTime": to_text(row.alert_creation_time),
        "lastUpdatedTime": to_text(row.last_update_time),
        "resolvedTime": time_text(row.resolved_time),
        "firstActivity": time_text(row.first_event_time),
        "lastActivity": time_text(row.last_event_time),
        "title": row.title,
        "description": row.description,
        "category": row.category,
        "status": row.status,
        "severity": row.severity,
        "investigationId": row.investigation_id,
        "investigationState": row.investigation_state,
        "classification": row.classification,
        "determination": row.determination,
        "detectionSource": row.detection_source,
        "detectorId": row.detector_id,
        "assignedTo": row.assigned_to,
        "actorName": None,
        "threatFamilyName": row.threat_family_name,
        "mitreTechniques": row.mitre_techniques,
        "devices": [] if on is None else [device(on)],
        "entities": [entity(item, row.machine_id) for item in evidence],
    }


def device(row: Device) -> Entity:
    return {
        "mdatpDeviceId": row.id,
        "deviceId": row.id,
        "aadDeviceId": row.aad_device_id,
        "deviceDnsName": row.computer_dns_name,
        "osPlatform": row.os_platform,
        "version": row.version,
        "osProcessor": row.os_processor,
        "osBuild": row.os_build,
        "healthStatus": row.health_status,
        "riskScore": row.risk_score,
        "rbacGroupName": row.group.name if row.group else None,
        "rbacGroupId": row.device_group_id or 0,
        "firstSeen": to_text(row.first_seen),
        "tags": [tag.tag for tag in row.tags],
        "defenderAvStatus": row.defender_av_status,
        "onboardingStatus": row.onboarding_status,
        "vmMetadata": row.vm_metadata,
        "loggedOnUsers": row.logged_on_users,
    }


def entity(row: Evidence, device_id: str | None) -> Entity:
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
        "ipAddress": row.ip_address,
        "url": row.url,
        "accountName": row.account_name,
        "domainName": row.domain_name,
        "userSid": row.user_sid,
        "aadUserId": row.aad_user_id,
        "userPrincipalName": row.user_principal_name,
        "mailboxDisplayName": None,
        "mailboxAddress": None,
        "clusterBy": None,
        "sender": None,
        "recipient": None,
        "subject": None,
        "deliveryAction": None,
        "securityGroupId": None,
        "securityGroupName": None,
        "registryHive": row.registry_hive,
        "registryKey": row.registry_key,
        "registryValueType": row.registry_value_type,
        "registryValue": row.registry_value,
        "deviceId": device_id,
        "detectionStatus": row.detection_status,
    }
