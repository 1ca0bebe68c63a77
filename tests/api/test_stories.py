"""The attack story of an incident, and alerts that analysts move between incidents."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.models import Alert, Incident
from shieldwall.alerts.raising import raise_many
from shieldwall.devices.models import Device
from shieldwall.times import now, to_text
from tests.api.conftest import DEVICE, SECOND, Api
from tests.api.test_delegated import Person, ann  # noqa: F401
from tests.conftest import OTHER_TENANT, TENANT

START = now() - timedelta(hours=3)


def draft(title: str, minutes: int, device: str, *evidence: EvidenceDraft, category: str) -> AlertDraft:
    time = START + timedelta(minutes=minutes)
    return AlertDraft(
        TENANT, device, title, title, "", "High", category, "CustomDetection", time, time, evidence,
        mitre_techniques=("T1059",),
    )  # fmt: skip


def process(number: int, name: str, parent: int) -> EvidenceDraft:
    return EvidenceDraft(
        "Process",
        file_name=name,
        process_id=number,
        process_creation_time=START,
        process_command_line=f"/tmp/{name}",
        parent_process_id=parent,
        parent_process_creation_time=START,
        parent_process_file_name="sh",
        detection_status="Detected",
    )


@pytest.fixture
def attack(api: Api) -> dict[str, str]:
    """Three alerts on two devices that are one incident; their ids by title."""
    file = EvidenceDraft(
        "File",
        sha256="7" * 64,
        file_name="x",
        file_path="/tmp",
        detection_status="Prevented",
        verdict="Malicious",
    )
    user = EvidenceDraft("User", account_name="alice", domain_name="corp")
    address = EvidenceDraft("Ip", ip_address="198.51.100.9", detection_status="Detected")
    drafts = [
        draft("Dropper", 0, DEVICE, process(70, "dropper", 60), file, user, category="Execution"),
        draft("Beacon", 5, DEVICE, process(71, "payload", 70), address, category="CommandAndControl"),
        draft("Spread", 9, SECOND, process(80, "x", 60), file, category="LateralMovement"),
    ]
    with api.services.database.system_session() as session:
        raised = raise_many(session, drafts, 24 * 3600)
    return {each.title: identifier for each, (identifier, _) in zip(drafts, raised, strict=True)}


def incident_of(api: Api, identifier: str) -> int:
    found: int = api.get(f"/api/alerts/{identifier}")["incidentId"]
    return found


def test_the_story_of_an_incident_is_a_graph_in_the_order_of_time(api: Api, attack: dict[str, str]) -> None:
    number = incident_of(api, attack["Dropper"])
    story = api.get(f"/api/incidents/{number}/story")
    assert story["incidentName"] == (
        "Multi-stage incident involving Execution & Command and control on 2 devices"
    )
    assert story["tactics"] == ["Execution", "LateralMovement", "CommandAndControl"]
    assert (story["mitreTechniques"], story["truncated"]) == (["T1059"], False)
    assert [alert["title"] for alert in story["alerts"]] == ["Dropper", "Beacon", "Spread"]
    times = [node["time"] for node in story["nodes"]]
    assert times == sorted(times)
    assert story["firstActivity"] == to_text(START)
    nodes = {node["id"]: node for node in story["nodes"]}
    file = nodes[f"file:{'7' * 64}"]
    assert (file["verdict"], file["remediationStatus"], file["detectionStatus"]) == (
        "Malicious",
        "Prevented",
        "Prevented",
    )
    assert sorted(file["alertIds"]) == sorted([attack["Dropper"], attack["Spread"]])
    drawn = {(nodes[e["source"]]["label"], e["kind"], nodes[e["target"]]["label"]) for e in story["edges"]}
    assert drawn >= {
        ("Web01.contoso.com", "ran", "sh"),
        ("sh", "started", "dropper"),
        ("dropper", "started", "payload"),
        ("payload", "connectedTo", "198.51.100.9"),
        ("corp\\alice", "ran", "dropper"),
        ("x", "touched", "x"),
        ("Beacon", "raisedOn", "payload"),
    }
    spread = story["alerts"][2]["reasons"]
    assert [(reason["alertId"], [each["kind"] for each in reason["shared"]]) for reason in spread] == [
        (attack["Dropper"], ["file"])
    ]


def test_the_story_is_of_the_tenant_and_its_incidents(api: Api, attack: dict[str, str]) -> None:
    path = f"/api/incidents/{incident_of(api, attack['Dropper'])}/story"
    assert api.error("GET", path, tenant=OTHER_TENANT) == (404, "ResourceNotFound")
    assert api.error("GET", path, roles=("Alert.Read.All",))[0] == 403
    assert api.error("GET", "/api/incidents/999999/story") == (404, "ResourceNotFound")


def test_a_person_sees_of_the_story_what_is_of_their_devices(
    api: Api,
    attack: dict[str, str],
    ann: Person,  # noqa: F811
) -> None:
    number = incident_of(api, attack["Dropper"])
    # The second device is in no group.
    story = ann.only(["Incident.Read"], "").get(f"/api/incidents/{number}/story")
    assert [alert["title"] for alert in story["alerts"]] == ["Spread"]
    assert story["alerts"][0]["reasons"] == []
    assert not any(DEVICE in node["id"] or "dropper" in node["label"] for node in story["nodes"])


def patch(api: Api, identifier: str, body: dict[str, Any]) -> int:
    answer = api.call("PATCH", f"/api/alerts/{identifier}", json=body)
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["incidentId"]
    return found


@pytest.mark.parametrize("fresh", [0, "0", "new"])
def test_an_alert_is_moved_to_a_fresh_incident_and_stays(
    api: Api, attack: dict[str, str], fresh: Any
) -> None:
    before = incident_of(api, attack["Beacon"])
    moved = patch(api, attack["Beacon"], {"incidentId": fresh})
    assert moved != before
    assert api.get(f"/api/incidents/{moved}")["incidentName"] == "Beacon on Web01.contoso.com"
    assert api.get(f"/api/incidents/{before}")["incidentName"].endswith("on 2 devices")
    linking = draft("Later", 12, DEVICE, process(90, "y", 71), process(91, "z", 70), category="Discovery")
    with api.services.database.system_session() as session:
        raise_many(session, [linking], 24 * 3600)
    assert (incident_of(api, attack["Beacon"]), incident_of(api, attack["Dropper"])) == (moved, before)
    story = api.get(f"/api/incidents/{moved}/story")
    assert story["alerts"][0]["movedBy"]


def test_the_last_alert_that_leaves_takes_the_link_along(api: Api, attack: dict[str, str]) -> None:
    before = incident_of(api, attack["Beacon"])
    apart = patch(api, attack["Beacon"], {"incidentId": 0})
    assert patch(api, attack["Beacon"], {"incidentId": before}) == before
    left = api.get(f"/api/incidents/{apart}")
    assert (left["status"], left["redirectIncidentId"]) == ("Redirected", before)
    body = {"incidentId": apart}
    assert api.error("PATCH", f"/api/alerts/{attack['Beacon']}", json=body)[0] == 400


@pytest.mark.parametrize("wrong", [-1, "x", True, 1.5, [], {"a": 1}, 10**19])
def test_what_is_no_incident_is_refused(api: Api, attack: dict[str, str], wrong: Any) -> None:
    path = f"/api/alerts/{attack['Beacon']}"
    assert api.error("PATCH", path, json={"incidentId": wrong}) == (400, "InvalidRequestBody")
    assert api.error("PATCH", path, json={"incidentId": 999_999}) == (404, "ResourceNotFound")


def test_severity_follows_what_is_left_and_what_an_analyst_said_stands(
    api: Api, attack: dict[str, str]
) -> None:
    number = incident_of(api, attack["Dropper"])
    with api.services.database.session(TENANT) as session:
        session.get_one(Alert, attack["Spread"]).severity = "Low"
    for title in ("Dropper", "Beacon"):
        patch(api, attack[title], {"status": "Resolved"})
    assert api.get(f"/api/incidents/{number}")["severity"] == "Low"
    answer = api.call(
        "PATCH", f"/v1.0/security/incidents/{number}", json={"severity": "medium", "displayName": "Ours"}
    )
    assert answer.status_code == 200
    patch(api, attack["Dropper"], {"status": "InProgress"})
    told = api.get(f"/api/incidents/{number}")
    assert (told["severity"], told["incidentName"]) == ("Medium", "Ours")


def test_the_verdict_of_evidence_is_told_to_graph(api: Api, attack: dict[str, str]) -> None:
    alert = api.get(f"/v1.0/security/alerts_v2/{attack['Dropper']}")
    (file,) = (each for each in alert["evidence"] if each["@odata.type"].endswith("fileEvidence"))
    assert (file["verdict"], file["remediationStatus"], file["detectionStatus"]) == (
        "malicious",
        "prevented",
        "prevented",
    )


def test_the_story_of_an_alert_names_the_alerts_of_its_incident(api: Api, attack: dict[str, str]) -> None:
    rows = [
        {
            "Timestamp": START,
            "DeviceId": DEVICE,
            "ActionType": "ProcessCreated",
            "FileName": name,
            "ProcessId": number,
            "ProcessCreationTime": START,
            "InitiatingProcessId": parent,
            "InitiatingProcessCreationTime": START,
        }
        for number, parent, name in ((70, 60, "dropper"), (71, 70, "payload"))
    ]
    api.services.telemetry.insert_rows("DeviceProcessEvents", TENANT, rows)
    written = {
        "Timestamp": START + timedelta(seconds=5),
        "DeviceId": DEVICE,
        "ActionType": "FileCreated",
        "FolderPath": "/tmp/loot",
        "InitiatingProcessId": 71,
        "InitiatingProcessCreationTime": START,
    }
    api.services.telemetry.insert_rows("DeviceFileEvents", TENANT, [written, written])
    story = api.get(f"/api/alerts/{attack['Beacon']}/story")
    assert [(each["title"], each["inTree"]) for each in story["alerts"]] == [
        ("Dropper", True),
        ("Beacon", True),
    ]
    payload = story["processTree"]["children"][0]["children"][0]
    assert (payload["fileName"], payload["alertIds"]) == ("payload", [attack["Beacon"]])
    assert payload["events"] == [
        {
            "actionType": "FileCreated",
            "text": "/tmp/loot",
            "kind": "file",
            "time": to_text(START + timedelta(seconds=5)),
            "count": 2,
        }
    ]


def test_devices_and_incidents_of_the_attack_are_known(api: Api, attack: dict[str, str]) -> None:
    with api.services.database.read(TENANT) as session:
        assert session.get_one(Device, SECOND).risk_score == "High"
        homes = select(Alert.incident_id).where(Alert.id.in_(attack.values()))
        (number,) = set(session.scalars(homes))
        assert session.get_one(Incident, number).severity == "High"
