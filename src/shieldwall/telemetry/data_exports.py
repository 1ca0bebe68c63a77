"""What a tenant wants its events sent to, and which: checked here, kept in the state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shieldwall.errors import ApiError, bad_request, missing_parameter

SETTINGS_LIMIT = 5
"""Most settings of a tenant, as the service has it."""
PREFIX = "AdvancedHunting-"
TABLES = (
    "AlertEvidence",
    "AlertInfo",
    "CloudAppEvents",
    "DeviceEvents",
    "DeviceFileCertificateInfo",
    "DeviceFileEvents",
    "DeviceImageLoadEvents",
    "DeviceInfo",
    "DeviceLogonEvents",
    "DeviceNetworkEvents",
    "DeviceNetworkInfo",
    "DeviceProcessEvents",
    "DeviceRegistryEvents",
    "EmailAttachmentInfo",
    "EmailEvents",
    "EmailPostDeliveryEvents",
    "EmailUrlInfo",
    "IdentityDirectoryEvents",
    "IdentityLogonEvents",
    "IdentityQueryEvents",
    "UrlClickEvents",
)
"""Tables whose rows are exported."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}")
_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_RESOURCE = re.compile(
    r"/subscriptions/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/resourceGroups/[\w().-]{1,90}"
    r"/providers/(?P<kind>[A-Za-z.]+/[A-Za-z]+)/[A-Za-z0-9][A-Za-z0-9-]{2,62}",
    re.IGNORECASE | re.ASCII,
)
_TARGETS = {
    "eventHubProperties": ("eventHubResourceId", "microsoft.eventhub/namespaces"),
    "storageAccountProperties": ("storageAccountResourceId", "microsoft.storage/storageaccounts"),
    "workspaceProperties": ("workspaceResourceId", "microsoft.operationalinsights/workspaces"),
}
"""Where rows may go: the property that names the resource, and the type that it must be of."""


def read_setting(body: Mapping[str, Any], tenant_id: str) -> dict[str, Any]:
    """A setting as it is kept, from the properties of the API; ApiError 400 says what is wrong."""
    name = body.get("id")
    if name is None:
        raise missing_parameter("id")
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise _wrong("id must be a name of at most 100 letters, digits, blanks, points, dashes.")
    tenant = body.get("designatedTenantId")
    if tenant is not None and str(tenant).lower() != tenant_id:
        raise bad_request("designatedTenantId is another tenant.", "InvalidInput")
    given = {target: body[target] for target in _TARGETS if body.get(target) is not None}
    if len(given) != 1:
        raise _wrong(f"Exactly one of {', '.join(_TARGETS)} must be given.")
    ((target, value),) = given.items()
    return {"name": name, "target": target, "properties": _target(target, value), "logs": _logs(body)}


def _target(target: str, value: Any) -> dict[str, Any]:
    name, kind = _TARGETS[target]
    if not isinstance(value, dict):
        raise _wrong(f"{target} must be an object.")
    resource = value.get(name)
    found = _RESOURCE.fullmatch(resource) if isinstance(resource, str) else None
    if found is None or found["kind"].lower() != kind:
        raise _wrong(f"{target}.{name} must be the id of a resource of type {kind}.")
    kept: dict[str, Any] = {name: resource}
    if target == "eventHubProperties":
        hub = value.get("name") or None
        if hub is not None and not (isinstance(hub, str) and _HUB.fullmatch(hub)):
            raise _wrong("eventHubProperties.name must be the name of an event hub.")
        # Without a name each table has a hub of its own.
        kept["name"] = hub
    return kept


def _logs(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = body.get("logs")
    if given is None:
        raise missing_parameter("logs")
    if not isinstance(given, list) or not 1 <= len(given) <= len(TABLES):
        raise _wrong(f"logs must be a list of 1 to {len(TABLES)} objects.")
    known = {f"{PREFIX}{table}".lower(): f"{PREFIX}{table}" for table in TABLES}
    found: dict[str, bool] = {}
    for item in given:
        category = known.get(str(item.get("category")).lower()) if isinstance(item, dict) else None
        if category is None:
            raise bad_request(f"logs must name categories such as {PREFIX}DeviceEvents.", "InvalidInput")
        enabled = item.get("enabled", True)
        if not isinstance(enabled, bool):
            raise _wrong(f"enabled of {category} must be true or false.")
        if category in found:
            raise _wrong(f"{category} is named twice.")
        found[category] = enabled
    return [{"category": category, "enabled": enabled} for category, enabled in found.items()]


def _wrong(message: str) -> ApiError:
    return ApiError(400, "InvalidRequestBody", message)
