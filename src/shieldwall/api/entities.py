"""Files, addresses, domains and users: their alerts, their devices and how often they were seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import func, or_, select
from starlette.responses import Response

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.api import answers, sets, shapes
from shieldwall.api.access import requires, services_of
from shieldwall.api.alert_pages import alert_page
from shieldwall.api.answers import Entity
from shieldwall.api.odata.compile import Condition
from shieldwall.api.odata.options import read_options, read_query
from shieldwall.api.odata.query import fetch
from shieldwall.api.routing import router as new_router
from shieldwall.detection.values import match_value
from shieldwall.devices.models import Device
from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.identity.principal import Principal
from shieldwall.telemetry import sightings
from shieldwall.telemetry.sightings import HASHES, HOURS_LIMIT, SeenFile, Sightings

router = new_router("Entities")

DOMAIN_DEVICES = 500
"""Most devices that the list of a domain's devices has."""
USER_LIMIT = 256

AlertReader = Annotated[Principal, Depends(requires("Alert.Read.All", "Alert.ReadWrite.All"))]
MachineReader = Annotated[Principal, Depends(requires("Machine.Read.All", "Machine.ReadWrite.All"))]
FileReader = Annotated[Principal, Depends(requires("File.Read.All"))]
IpReader = Annotated[Principal, Depends(requires("Ip.Read.All"))]
UrlReader = Annotated[Principal, Depends(requires("URL.Read.All"))]

_TYPES = "microsoft.windowsDefenderATP.api"
_HASH_COLUMNS = {"SHA1": Evidence.sha1, "SHA256": Evidence.sha256, "MD5": Evidence.md5}


@router.get("/api/files/{file_id}", summary="Get a file")
def get_file(file_id: str, request: Request, principal: FileReader) -> Response:
    """By SHA-1, SHA-256 or MD5; known are files that events or alerts name."""
    digest = _digest(file_id)
    services = services_of(request)
    seen = sightings.file(services.telemetry, principal.tenant_id, digest)
    evidence = _file_evidence(request, principal, digest)
    if seen is None and evidence is None:
        raise not_found("File", digest)
    body = shapes.file(evidence or Evidence(sha1=None))
    if seen is not None:
        body |= _seen(seen, body)
    if body["sha1"] and (
        signed := sightings.signature(services.telemetry, principal.tenant_id, body["sha1"])
    ):
        body |= {
            "signer": signed.signer or None,
            "issuer": signed.issuer or None,
            "signerHash": signed.signer_hash or None,
            "isValidCertificate": signed.trusted,
        }
    return answers.entity(request, "Files", body)


@router.get("/api/files/{file_id}/alerts", summary="Alerts of a file")
def file_alerts(file_id: str, request: Request, principal: AlertReader) -> Response:
    """OData options apply, as to all alerts."""
    return alert_page(request, principal, _with(_is_file(_digest(file_id))))


@router.get("/api/files/{file_id}/machines", summary="Devices of a file")
def file_machines(file_id: str, request: Request, principal: MachineReader) -> Response:
    """Devices whose events of the last 30 days name the file."""
    store = services_of(request).telemetry
    return _machines(request, principal, sightings.file_devices(store, principal.tenant_id, _digest(file_id)))


@router.get("/api/files/{file_id}/stats", summary="Statistics of a file")
def file_statistics(file_id: str, request: Request, principal: FileReader) -> Response:
    """`lookBackHours` goes back up to 720 hours."""
    digest = _digest(file_id)
    seen = sightings.file(services_of(request).telemetry, principal.tenant_id, digest, _hours(request))
    evidence = None if seen else _file_evidence(request, principal, digest)
    if seen is None and evidence is None:
        raise not_found("File", digest)
    body = {
        "sha1": (seen.sha1 if seen else evidence.sha1 if evidence else None) or None,
        **_prevalence(seen.sightings if seen else Sightings(0, None, None)),
        "globalPrevalence": None,
        "globallyPrevalence": None,
        "globalFirstObserved": None,
        "globalLastObserved": None,
        "topFileNames": seen.names if seen else [],
    }
    return answers.value(request, f"{_TYPES}.InOrgFileStats", body)


@router.get("/api/ips/{ip}/alerts", summary="Alerts of an address")
def ip_alerts(ip: str, request: Request, principal: AlertReader) -> Response:
    return alert_page(request, principal, _with(Evidence.ip_address == match_value("IpAddress", ip)))


@router.get("/api/ips/{ip}/stats", summary="Statistics of an address")
def ip_statistics(ip: str, request: Request, principal: IpReader) -> Response:
    """`lookBackHours` goes back up to 720 hours."""
    address = match_value("IpAddress", ip)
    store = services_of(request).telemetry
    seen = sightings.address(store, principal.tenant_id, address, _hours(request))
    return answers.value(request, f"{_TYPES}.InOrgIPStats", {"ipAddress": address, **_prevalence(seen)})


@router.get("/api/domains/{domain}/alerts", summary="Alerts of a domain")
def domain_alerts(domain: str, request: Request, principal: AlertReader) -> Response:
    return alert_page(request, principal, _with(_has_host(match_value("DomainName", domain))))


@router.get("/api/domains/{domain}/machines", summary="Devices of a domain")
def domain_machines(domain: str, request: Request, principal: MachineReader) -> Response:
    """At most 500 devices that looked the domain up or called it in the last 30 days."""
    name = match_value("DomainName", domain)
    found = sightings.host_devices(services_of(request).telemetry, principal.tenant_id, name)
    return _machines(request, principal, found[:DOMAIN_DEVICES])


@router.get("/api/domains/{domain}/stats", summary="Statistics of a domain")
def domain_statistics(domain: str, request: Request, principal: UrlReader) -> Response:
    """`lookBackHours` goes back up to 720 hours."""
    name = match_value("DomainName", domain)
    seen = sightings.host(services_of(request).telemetry, principal.tenant_id, name, _hours(request))
    return answers.value(request, f"{_TYPES}.InOrgDomainStats", {"host": name, **_prevalence(seen)})


@router.get("/api/users/{user_id}/alerts", summary="Alerts of a user")
def user_alerts(user_id: str, request: Request, principal: AlertReader) -> Response:
    """By the bare account name."""
    name = _account(user_id)
    related = func.lower(Alert.related_user["userName"].as_string()) == name
    return alert_page(request, principal, or_(related, _with(func.lower(Evidence.account_name) == name)))


@router.get("/api/users/{user_id}/machines", summary="Devices of a user")
def user_machines(user_id: str, request: Request, principal: MachineReader) -> Response:
    """Devices on which the account logged on in the last 30 days."""
    store = services_of(request).telemetry
    found = sightings.account_devices(store, principal.tenant_id, _account(user_id))
    return _machines(request, principal, found)


def _digest(text: str) -> str:
    digest = text.strip().lower()
    if len(digest) not in HASHES or not re.fullmatch("[0-9a-f]+", digest):
        raise ApiError(400, "InvalidHashValue", f"Hash value {text[:80]} is invalid.")
    return digest


def _account(text: str) -> str:
    """The bare name in lower case, also of ``domain\\name`` and of a principal name."""
    name = text.strip().rpartition("\\")[2].partition("@")[0].lower()
    return name[:USER_LIMIT]


def _hours(request: Request) -> int:
    named = {name.lower().lstrip("$"): value for name, value in read_query(request.url.query)}
    text = named.get("lookbackhours", "").strip() or str(HOURS_LIMIT)
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= HOURS_LIMIT):
        raise bad_request(f"lookBackHours must be a number from 1 to {HOURS_LIMIT}.", "InvalidInput")
    return int(text)


def _is_file(digest: str) -> Condition:
    return _HASH_COLUMNS[HASHES[len(digest)]] == digest


def _with(condition: Condition) -> Condition:
    """Alerts whose evidence has an entity that meets the condition."""
    return Alert.id.in_(select(Evidence.alert_id).where(condition))


def _has_host(name: str) -> Condition:
    url = func.lower(Evidence.url)
    ends = [f"{start}{name}{end}" for start in ("", "%://") for end in ("", "/%", ":%", "?%", "#%")]
    escaped = (each.replace("_", "\\_") for each in ends)
    return or_(*(url.like(each, escape="\\") for each in escaped))


def _file_evidence(request: Request, principal: Principal, digest: str) -> Evidence | None:
    newest = select(Evidence).where(_is_file(digest)).order_by(Evidence.sha256.is_(None), Evidence.id.desc())
    with services_of(request).database.read(principal.tenant_id) as session:
        return session.scalar(newest.limit(1))


def _machines(request: Request, principal: Principal, identifiers: Sequence[str]) -> Response:
    options = read_options(request.url.query, sets.MACHINES)
    with services_of(request).database.read(principal.tenant_id) as session:
        page = fetch(session, sets.MACHINES, options, Device.id.in_(identifiers))
        items = [shapes.machine(row) for row in page.rows]
    return answers.collection(request, "Machines", items, page, options)


def _seen(found: SeenFile, known: Entity) -> Entity:
    return {
        "sha1": found.sha1 or known["sha1"],
        "sha256": found.sha256 or known["sha256"],
        "md5": found.md5 or known["md5"],
        "size": found.size,
        "filePublisher": found.company or None,
        "fileProductName": found.product or None,
    }


def _prevalence(seen: Sightings) -> Entity:
    """The count as clients of both ages read it: once as text, once as a number."""
    return {
        "orgPrevalence": str(seen.devices),
        "organizationPrevalence": seen.devices,
        "orgFirstSeen": _whole_seconds(seen.first),
        "orgLastSeen": _whole_seconds(seen.last),
    }


def _whole_seconds(value: datetime | None) -> str | None:
    return shapes.time_text(value.replace(microsecond=0) if value else None)
