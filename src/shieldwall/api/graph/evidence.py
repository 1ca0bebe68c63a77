"""Evidence as Graph tells it: one type for each kind of entity, named in ``@odata.type``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.api.answers import Entity
from shieldwall.api.graph.words import small
from shieldwall.api.shapes import time_text
from shieldwall.devices.models import Device
from shieldwall.times import to_text

NAMESPACE = "microsoft.graph.security"


def evidence(alert: Alert, rows: Sequence[Evidence], on: Device | None) -> list[Entity]:
    """The device of an alert, then the entities."""
    return [*_devices(alert, on), *(_entity(row, alert.machine_id) for row in rows)]


def _devices(alert: Alert, on: Device | None) -> Iterator[Entity]:
    if on is not None:
        yield {**_common("deviceEvidence", time_text(alert.alert_creation_time)), **_device(on)}


def _device(row: Device) -> Entity:
    host, _, domain = (row.computer_dns_name or "").partition(".")
    vm = row.vm_metadata
    return {
        "firstSeenDateTime": to_text(row.first_seen),
        "mdeDeviceId": row.id,
        "azureAdDeviceId": row.aad_device_id,
        "deviceDnsName": row.computer_dns_name,
        "hostName": host or None,
        "ntDomain": None,
        "dnsDomain": domain or None,
        "osPlatform": row.os_platform,
        "osBuild": row.os_build,
        "version": row.version,
        "healthStatus": small(row.health_status),
        "riskScore": small(row.risk_score),
        "rbacGroupId": row.device_group_id or 0,
        "rbacGroupName": row.group.name if row.group else None,
        "onboardingStatus": small(row.onboarding_status),
        "defenderAvStatus": small(row.defender_av_status) or "unknown",
        "lastIpAddress": row.last_ip_address,
        "lastExternalIpAddress": row.last_external_ip_address,
        "ipInterfaces": [item["ipAddress"] for item in row.ip_addresses or [] if item.get("ipAddress")],
        "vmMetadata": vm
        and {
            "vmId": vm.get("vmId"),
            "cloudProvider": (small(vm.get("cloudProvider")) or "unknown"),
            "resourceId": vm.get("resourceId"),
            "subscriptionId": vm.get("subscriptionId"),
        },
        "loggedOnUsers": [
            {"accountName": user.get("userName"), "domainName": user.get("domainName")}
            for user in row.logged_on_users or []
        ],
        "resourceAccessEvents": [],
    }


def _entity(row: Evidence, device_id: str | None) -> Entity:
    kind, facts = _facts(row, device_id)
    common = _common(kind, to_text(row.evidence_creation_time), row.verdict, row.remediation_status)
    return {**common, **facts}


def _common(kind: str, created: str | None, verdict: str = "Unknown", remediation: str = "None") -> Entity:
    return {
        "@odata.type": f"#{NAMESPACE}.{kind}",
        "createdDateTime": created,
        "verdict": small(verdict),
        "remediationStatus": small(remediation),
        "remediationStatusDetails": None,
        "roles": [],
        "detailedRoles": [],
        "tags": [],
    }


def _facts(row: Evidence, device_id: str | None) -> tuple[str, Entity]:
    """The type of an entity and what is of that type only."""
    detection = {"detectionStatus": small(row.detection_status), "mdeDeviceId": device_id}
    match row.entity_type:
        case "File":
            return "fileEvidence", {**detection, "fileDetails": _file(row)}
        case "Process":
            return "processEvidence", {**detection, **_process(row)}
        case "Ip":
            return "ipEvidence", {"ipAddress": row.ip_address, "countryLetterCode": None, "location": None}
        case "Url":
            return "urlEvidence", {"url": row.url}
        case "User":
            return "userEvidence", {"userAccount": _account(row)}
        case "Registry" if row.registry_value_type or row.registry_value:
            value = {
                "mdeDeviceId": device_id,
                "registryHive": row.registry_hive,
                "registryKey": row.registry_key,
                "registryValue": row.registry_value,
                "registryValueName": None,
                "registryValueType": row.registry_value_type,
            }
            return "registryValueEvidence", value
        case "Registry":
            return "registryKeyEvidence", {"registryHive": row.registry_hive, "registryKey": row.registry_key}
    return "alertEvidence", {}


def _process(row: Evidence) -> Entity:
    parent: dict[str, Any] | None = None
    if row.parent_process_file_name:
        parent = _details(None, None, None, row.parent_process_file_name, row.parent_process_file_path)
    return {
        "processId": row.process_id,
        "parentProcessId": row.parent_process_id,
        "processCommandLine": row.process_command_line,
        "processCreationDateTime": time_text(row.process_creation_time),
        "parentProcessCreationDateTime": time_text(row.parent_process_creation_time),
        "imageFile": _file(row),
        "parentProcessImageFile": parent,
        "userAccount": _account(row) if row.account_name else None,
    }


def _file(row: Evidence) -> Entity:
    return _details(row.sha1, row.sha256, row.md5, row.file_name, row.file_path)


def _details(
    sha1: str | None, sha256: str | None, md5: str | None, name: str | None, path: str | None
) -> Entity:
    return {
        "sha1": sha1,
        "sha256": sha256,
        "md5": md5,
        "sha256Ac": None,
        "fileName": name,
        "filePath": path,
        "fileSize": None,
        "filePublisher": None,
        "signer": None,
        "issuer": None,
    }


def _account(row: Evidence) -> Entity:
    return {
        "accountName": row.account_name,
        "domainName": row.domain_name,
        "userSid": row.user_sid,
        "azureAdUserId": row.aad_user_id,
        "userPrincipalName": row.user_principal_name,
        "displayName": None,
        "activeDirectoryObjectGuid": None,
        "resourceAccessEvents": [],
    }
