"""Scan, restriction and offboarding: their bodies, answers and ends."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from shieldwall.devices.models import Device
from shieldwall.identity.models import AuditEntry
from shieldwall.response.models import MachineAction
from tests.api.conftest import DEVICE, Api
from tests.api.test_machines import AAD, act
from tests.conftest import TENANT

PATHS = {
    "runAntiVirusScan": ("RunAntiVirusScan", "Machine.Scan"),
    "restrictCodeExecution": ("RestrictCodeExecution", "Machine.RestrictExecution"),
    "unrestrictCodeExecution": ("UnrestrictCodeExecution", "Machine.RestrictExecution"),
    "offboard": ("Offboard", "Machine.Offboard"),
}
BODY = {"Comment": "because", "ScanType": "Quick"}


@pytest.mark.parametrize("path", PATHS)
def test_an_action_is_pending_needs_its_permission_and_happens_once(api: Api, path: str) -> None:
    kind, permission = PATHS[path]
    url = f"/api/machines/{AAD}/{path}"
    others = tuple(other for _, other in PATHS.values() if other != permission)
    assert api.error("POST", url, json=BODY, roles=(*others, "Machine.ReadWrite.All")) == (403, "Forbidden")
    assert api.error("POST", url, json={"ScanType": "Full"}) == (400, "MissingRequiredParameter")
    answer = api.call("POST", url, json=BODY, roles=(permission,))
    assert answer.status_code == (200 if path == "offboard" else 201)
    body = answer.json()
    assert (body["type"], body["status"], body["machineId"]) == (kind, "Pending", DEVICE)
    assert api.error("POST", url, json=BODY) == (400, "ActiveRequestAlreadyExists")
    assert api.error("POST", f"/api/machines/nobody/{path}", json=BODY) == (404, "ResourceNotFound")


def test_a_scan_names_its_type(api: Api) -> None:
    url = f"/api/machines/{DEVICE}/runAntiVirusScan"
    assert api.error("POST", url, json={"Comment": "x"}) == (400, "MissingRequiredParameter")
    assert api.error("POST", url, json={"Comment": "x", "ScanType": "Deep"}) == (400, "InvalidRequestBody")
    assert act(api, "runantivirusscan", {"comment": "x", "scantype": "full"})["scope"] == "Full"


def test_restriction_and_its_end_exclude_each_other(api: Api) -> None:
    act(api, "restrictCodeExecution")
    url = f"/api/machines/{DEVICE}/unrestrictCodeExecution"
    assert api.error("POST", url, json=BODY) == (400, "ActiveRequestAlreadyExists")


def test_an_offboarded_device_is_refused_and_what_waited_for_it_fails(api: Api) -> None:
    waiting = act(api, "isolate")
    action = api.call("POST", f"/api/machines/{DEVICE}/offboard", json=BODY).json()
    record = api.services.actions.record_status
    record(TENANT, DEVICE, action["id"], "InProgress", "", {})
    with api.services.database.read(TENANT) as session:
        assert not session.get(Device, DEVICE).revoked, "it must be able to tell that it is done"
    record(TENANT, DEVICE, action["id"], "Succeeded", "", {})
    with api.services.database.read(TENANT) as session:
        assert session.get(Device, DEVICE).revoked
        audited = set(session.scalars(select(AuditEntry.action).where(AuditEntry.actor == DEVICE)))
    assert {"device.offboard", "machineaction.succeeded"} <= audited
    machine = api.get(f"/api/machines/{DEVICE}")
    assert (machine["onboardingStatus"], machine["healthStatus"]) == ("CanBeOnboarded", "Inactive")
    assert api.get(f"/api/machineactions/{waiting['id']}")["status"] == "Failed"
    assert api.error("POST", f"/api/machines/{DEVICE}/isolate", json=BODY) == (400, "InvalidInput")


def test_what_a_scans_rules_found_are_alerts_of_the_device(api: Api) -> None:
    action = act(api, "runAntiVirusScan", {"Comment": "x", "ScanType": "Quick"})
    found = {"path": "/tmp/a/implant", "sha1": "7" * 40, "sha256": "8" * 64, "rule": "Beacon"}
    told = [
        {**found, "remediated": True},
        {**found, "path": "/tmp/b", "sha1": "9" * 40, "sha256": "9" * 64},
        {**found, "rule": None, "name": "listed"},
        {**found, "sha1": "no hash"},
        "text",
    ]
    record = api.services.actions.record_status
    record(TENANT, DEVICE, action["id"], "InProgress", "", {})
    record(TENANT, DEVICE, action["id"], "Succeeded", "", {"detections": told})
    filtered = "/api/alerts?$filter=detectionSource eq 'WindowsDefenderAv'&$expand=evidence"
    (alert,) = api.get(filtered)["value"]
    assert (alert["machineId"], alert["threatName"]) == (DEVICE, "YARA:Linux/Beacon")
    entities = {item["filePath"]: item for item in alert["evidence"]}
    assert entities["/tmp/a"]["detectionStatus"] == "Prevented"
    assert entities["/tmp/a"]["fileName"] == "implant"
    assert entities["/tmp"]["detectionStatus"] == "Detected"
    assert len(entities) == 2


def test_a_scan_takes_the_rules_of_the_library_along(api: Api) -> None:
    for name in ("one.yar", "TWO.YARA", "look.sh"):
        files = {"file": (name, b"rule a { condition: true }")}
        assert api.call("POST", "/api/libraryfiles", files=files).status_code == 200
    action = act(api, "runAntiVirusScan", {"Comment": "x", "ScanType": "Quick"})
    with api.services.database.read(TENANT) as session:
        told = session.get(MachineAction, action["id"]).parameters
    assert [file["name"] for file in told["rules"]] == ["one.yar", "TWO.YARA"]
