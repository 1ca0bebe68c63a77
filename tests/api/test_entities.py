"""Files, addresses, domains and users over stored events and alerts."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert
from shieldwall.devices.models import Device
from shieldwall.times import now, to_text
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.conftest import OTHER_TENANT, TENANT

FIRST = "da000000000000000001_1"
SHA1, SHA256, MD5 = "1" * 40, "2" * 64, "3" * 32
FILE_KEYS = """
sha1 sha256 md5 globalPrevalence globalFirstObserved globalLastObserved size fileType isPeFile filePublisher
fileProductName signer issuer signerHash isValidCertificate determinationType determinationValue
"""


def store(
    api: Api, table: str, device: str, hours: float = 0, tenant: str = TENANT, **columns: object
) -> str:
    """One event; the text of its time."""
    moment = now().replace(microsecond=0) - timedelta(hours=hours)
    row = {"Timestamp": moment, "DeviceId": device, **columns}
    api.services.telemetry.insert_rows(table, tenant, [row])
    return to_text(moment)


def digest() -> str:
    return (uuid4().hex * 2)[:40]


def test_a_file_has_every_property_and_what_events_and_signatures_tell(api: Api) -> None:
    sha1 = digest()
    sha256 = (uuid4().hex * 2)[:64]
    store(api, "DeviceFileEvents", DEVICE, SHA1=sha1, SHA256=sha256, FileSize=42, FileName="tool")
    store(api, "DeviceFileCertificateInfo", DEVICE, SHA1=sha1, Signer="Contoso", Issuer="CA", IsTrusted=True)
    for name in (sha1, sha1.upper(), sha256):
        body = api.get(f"/api/files/{name}")
        assert list(body) == ["@odata.context", *FILE_KEYS.split()]
        assert body["@odata.context"] == f"{URL}/api/$metadata#Files/$entity"
        assert (body["sha1"], body["sha256"], body["size"]) == (sha1, sha256, 42)
        assert (body["signer"], body["issuer"], body["isValidCertificate"]) == ("Contoso", "CA", True)


def test_a_file_that_only_an_alert_names_is_known_too(api: Api) -> None:
    for name in (SHA1, SHA256, MD5):
        body = api.get(f"/api/files/{name}")
        assert (body["sha1"], body["sha256"], body["md5"]) == (SHA1, SHA256, MD5)


def test_a_file_that_nothing_names_is_404_and_a_wrong_hash_400(api: Api) -> None:
    foreign = digest()
    store(api, "DeviceFileEvents", DEVICE, tenant=OTHER_TENANT, SHA1=foreign)
    for end in ("", "/stats"):
        assert api.error("GET", f"/api/files/{foreign}{end}") == (404, "ResourceNotFound")
    for end in ("", "/stats", "/alerts", "/machines"):
        assert api.error("GET", f"/api/files/nonsense{end}") == (400, "InvalidHashValue")
    for end in ("alerts", "machines"):
        assert api.get(f"/api/files/{foreign}/{end}")["value"] == [], "lists are 200 and empty"


def test_statistics_of_a_file_count_devices_within_the_hours_asked_for(api: Api) -> None:
    sha1 = digest()
    first = store(api, "DeviceFileEvents", DEVICE, 48, SHA1=sha1, FileName="old")
    store(api, "DeviceProcessEvents", SECOND, 2, SHA1=sha1, FileName="new")
    last = store(
        api, "DeviceNetworkEvents", SECOND, 1, InitiatingProcessSHA1=sha1, InitiatingProcessFileName="new"
    )
    body = api.get(f"/api/files/{sha1}/stats")
    assert body["@odata.context"] == f"{URL}/api/$metadata#microsoft.windowsDefenderATP.api.InOrgFileStats"
    assert (body["orgPrevalence"], body["organizationPrevalence"]) == ("2", 2)
    assert (body["orgFirstSeen"], body["orgLastSeen"]) == (first, last)
    assert body["topFileNames"] == ["new", "old"]
    assert {"sha1", "globallyPrevalence", "globalFirstObserved", "globalLastObserved"} <= set(body)
    assert api.get(f"/api/files/{sha1}/stats?lookBackHours=24")["organizationPrevalence"] == 1
    assert api.get(f"/api/files/{sha1}/stats?lookbackhours=720")["organizationPrevalence"] == 2
    for wrong in ("0", "721", "-1", "x"):
        assert api.error("GET", f"/api/files/{sha1}/stats?lookBackHours={wrong}") == (400, "InvalidInput")


def test_alerts_and_devices_of_a_file(api: Api) -> None:
    for name in (SHA1, SHA256):
        body = api.get(f"/api/files/{name}/alerts")
        assert body["@odata.context"] == f"{URL}/api/$metadata#Alerts"
        assert [item["id"] for item in body["value"]] == [FIRST]
    sha1 = digest()
    store(api, "DeviceImageLoadEvents", SECOND, SHA1=sha1)
    body = api.get(f"/api/files/{sha1}/machines")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Machines"
    assert [item["id"] for item in body["value"]] == [SECOND]


def test_addresses(api: Api) -> None:
    assert [item["id"] for item in api.get("/api/ips/203.0.113.9/alerts")["value"]] == [FIRST]
    assert api.get("/api/ips/198.51.100.1/alerts")["value"] == [], "of another tenant"
    moment = store(api, "DeviceNetworkEvents", DEVICE, 1, RemoteIP="198.51.100.77")
    store(api, "DeviceNetworkEvents", DEVICE, 1, tenant=OTHER_TENANT, RemoteIP="198.51.100.78")
    body = api.get("/api/ips/198.51.100.77/stats")
    assert body.pop("@odata.context").endswith("#microsoft.windowsDefenderATP.api.InOrgIPStats")
    assert body == {
        "ipAddress": "198.51.100.77",
        "orgPrevalence": "1",
        "organizationPrevalence": 1,
        "orgFirstSeen": moment,
        "orgLastSeen": moment,
    }
    unknown = api.get("/api/ips/198.51.100.78/stats")
    assert (unknown["orgPrevalence"], unknown["organizationPrevalence"]) == ("0", 0)
    assert unknown["orgFirstSeen"] is None
    for end in ("alerts", "stats"):
        assert api.error("GET", f"/api/ips/1.2.3/{end}") == (400, "InvalidIpAddress")


def test_domains(api: Api) -> None:
    assert [item["id"] for item in api.get("/api/domains/BAD.example.com/alerts")["value"]] == [FIRST]
    for other in ("example.com", "xbad.example.com", "bad.example.co"):
        assert api.get(f"/api/domains/{other}/alerts")["value"] == []
    name = f"a{uuid4().hex[:12]}.example.net"
    for url in (f"https://user@{name.upper()}:8443/x", name, f"http://sub.{name}/", f"http://x/{name}"):
        device = SECOND if "sub" in url or "/x/" in url else DEVICE
        store(api, "DeviceNetworkEvents", device, 1, RemoteUrl=url)
    body = api.get(f"/api/domains/{name}/stats")
    assert body["@odata.context"].endswith("#microsoft.windowsDefenderATP.api.InOrgDomainStats")
    assert (body["host"], body["orgPrevalence"], body["organizationPrevalence"]) == (name, "1", 1)
    assert [item["id"] for item in api.get(f"/api/domains/{name}/machines")["value"]] == [DEVICE]
    assert api.get("/api/domains/nobody.example/machines")["value"] == []
    assert api.get("/api/domains/nobody.example/stats")["organizationPrevalence"] == 0
    for end in ("alerts", "machines", "stats"):
        assert api.error("GET", f"/api/domains/not_a_domain/{end}") == (400, "InvalidDomainName")


def test_users_by_their_bare_name(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        for row in session.scalars(select(Alert).where(Alert.id != FIRST)):
            row.related_user = {"userName": "bob"}
    assert [item["id"] for item in api.get("/api/users/ROOT/alerts")["value"]] == [FIRST]
    name = f"u{uuid4().hex[:10]}"
    store(api, "DeviceLogonEvents", SECOND, AccountName=name)
    store(api, "DeviceLogonEvents", DEVICE, tenant=OTHER_TENANT, AccountName=name)
    assert [item["id"] for item in api.get(f"/api/users/{name.upper()}/machines")["value"]] == [SECOND]
    assert api.get("/api/users/nobody/alerts")["value"] == []
    assert api.get("/api/users/nobody/machines")["value"] == []


PERMISSIONS = {
    f"/api/files/{SHA1}": ["File.Read.All"],
    f"/api/files/{SHA1}/stats": ["File.Read.All"],
    f"/api/files/{SHA1}/alerts": ["Alert.Read.All", "Alert.ReadWrite.All"],
    f"/api/files/{SHA1}/machines": ["Machine.Read.All", "Machine.ReadWrite.All"],
    "/api/ips/203.0.113.9/alerts": ["Alert.Read.All", "Alert.ReadWrite.All"],
    "/api/ips/203.0.113.9/stats": ["Ip.Read.All"],
    "/api/domains/bad.example.com/alerts": ["Alert.Read.All", "Alert.ReadWrite.All"],
    "/api/domains/bad.example.com/machines": ["Machine.Read.All", "Machine.ReadWrite.All"],
    "/api/domains/bad.example.com/stats": ["URL.Read.All"],
    "/api/users/root/alerts": ["Alert.Read.All", "Alert.ReadWrite.All"],
    "/api/users/root/machines": ["Machine.Read.All", "Machine.ReadWrite.All"],
}


@pytest.mark.parametrize("path", PERMISSIONS)
def test_each_operation_opens_for_its_permissions_alone(api: Api, path: str) -> None:
    for permission in PERMISSIONS[path]:
        assert api.call("GET", path, roles=(permission,)).status_code == 200
    assert api.error("GET", path, roles=("Software.Read.All",)) == (403, "Forbidden")


def test_devices_that_are_gone_are_not_listed(api: Api) -> None:
    sha1 = digest()
    store(api, "DeviceFileEvents", "c" * 40, SHA1=sha1)
    with api.services.database.read(TENANT) as session:
        assert session.get(Device, "c" * 40) is None
    assert api.get(f"/api/files/{sha1}/machines")["value"] == []
