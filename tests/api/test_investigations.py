"""Automated investigations over the API: their shapes, and their way from start to end on real stores."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from shieldwall.alerts.models import Alert, Evidence
from shieldwall.detection.models import Indicator
from shieldwall.identity.models import AuditEntry
from shieldwall.investigations.models import Investigation
from shieldwall.response.models import MachineAction
from shieldwall.settings import Settings
from shieldwall.times import now
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.conftest import OTHER_TENANT, TENANT

KEYS = "id startTime endTime state cancelledBy statusDetails machineId computerDnsName triggeringAlertId"
EVIL_SHA1, EVIL_SHA256 = "1" * 40, "2" * 64


def start(api: Api, machine: str = DEVICE) -> dict[str, Any]:
    answer = api.call("POST", f"/api/machines/{machine}/startInvestigation", json={"Comment": "look"})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(autouse=True)
def recent(api: Api) -> None:
    """Alerts as if they came today."""
    with api.services.database.system_session() as session:
        session.execute(update(Alert).values(last_update_time=now()))


def analyse(api: Api, number: str) -> None:
    """What the workflow does."""
    api.services.investigations.judge(TENANT, int(number), 1)
    api.services.investigations.remediate(TENANT, int(number))


def block(api: Api, action: str = "Block") -> None:
    body = {
        "indicatorValue": EVIL_SHA256,
        "indicatorType": "FileSha256",
        "action": action,
        "title": "t",
        "description": "d",
        "generateAlert": True,
    }
    assert api.call("POST", "/api/indicators", json=body).status_code == 200


def state(api: Api, number: str) -> str:
    return str(api.get(f"/api/investigations/{number}")["state"])


def actions(api: Api, number: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/api/investigations/{number}/actions")["value"]
    return found


def finish(api: Api, action_id: str, status: str, error: str = "") -> None:
    api.services.actions.record_status(TENANT, DEVICE, action_id, status, error, {})
    api.services.investigations.follow()


def test_starting_answers_201_with_the_queued_investigation(api: Api) -> None:
    body = start(api)
    assert list(body) == ["@odata.context", *KEYS.split()]
    assert body["@odata.context"] == f"{URL}/api/$metadata#Investigations/$entity"
    assert body["id"].isdigit(), "decimal digits in a string"
    assert "." not in body["startTime"], "no fraction"
    assert (body["state"], body["machineId"], body["endTime"]) == ("Queued", DEVICE, None)
    alert = api.get(f"/api/alerts/{body['triggeringAlertId']}")
    assert alert["title"] == "Automated investigation started manually"
    assert (alert["detectionSource"], alert["severity"]) == ("AutomatedInvestigation", "Informational")
    assert alert["investigationId"] == int(body["id"]), "a number here"
    joined = api.get(f"/api/alerts?$filter=investigationId eq {body['id']}")["value"]
    assert len(joined) == 3, "the open alerts of the device, and its own"
    assert {item["investigationState"] for item in joined} == {"Queued"}


def test_one_is_found_by_its_id_and_by_its_alert(api: Api) -> None:
    body = start(api)
    assert api.get(f"/api/investigations/{body['id']}") == body
    assert api.get(f"/api/investigations/{body['triggeringAlertId']}") == body
    for name in ("0", "99", "x", "9" * 40, uuid4()):
        assert api.error("GET", f"/api/investigations/{name}") == (404, "ResourceNotFound")
    other = api.error("GET", f"/api/investigations/{body['id']}", tenant=OTHER_TENANT)
    assert other == (404, "ResourceNotFound")


def test_a_second_start_joins_the_running_one(api: Api) -> None:
    first = start(api)
    assert start(api, "web01.contoso.com")["id"] == first["id"]
    assert start(api, SECOND)["id"] != first["id"]


def test_a_start_needs_a_comment_a_device_and_the_permission(api: Api) -> None:
    path = f"/api/machines/{DEVICE}/startInvestigation"
    assert api.error("POST", path, json={}) == (400, "MissingRequiredParameter")
    assert api.error("POST", path, json={"Comment": "x"}, roles=("Alert.Read.All",)) == (403, "Forbidden")
    unknown = api.error("POST", "/api/machines/nobody/startInvestigation", json={"Comment": "x"})
    assert unknown == (404, "ResourceNotFound")


def test_investigations_are_filtered(api: Api) -> None:
    body = start(api)
    start(api, SECOND)
    for text in (
        f"id eq '{body['id']}'",
        f"id eq {body['id']}",
        f"id in ('{body['id']}','x')",
        f"machineId eq '{DEVICE}' and state eq 'queued'",
        f"triggeringAlertId eq '{body['triggeringAlertId']}'",
    ):
        found = api.get(f"/api/investigations?$filter={text}")
        assert [item["id"] for item in found["value"]] == [body["id"]], text
    assert len(api.get("/api/investigations?$filter=startTime gt 2020-01-01Z&$top=1")["value"]) == 1


def test_without_anything_bad_it_ends_benign(api: Api) -> None:
    body = start(api, SECOND)
    analyse(api, body["id"])
    ended = api.get(f"/api/investigations/{body['id']}")
    assert ended["state"] == "Benign"
    assert ended["endTime"] is not None
    alert = api.get(f"/api/alerts/{body['triggeringAlertId']}")
    assert alert["investigationState"] == "Benign"


def test_a_listed_file_is_remediated_at_once(api: Api) -> None:
    block(api)
    body = start(api)
    analyse(api, body["id"])
    (finding,) = [
        item
        for item in api.get(f"/api/investigations/{body['id']}/evidence")["value"]
        if item["sha1"] == EVIL_SHA1
    ]
    assert finding["verdict"] == "Malicious"
    assert "indicator" in finding["reasons"][0]
    (action,) = actions(api, body["id"])
    asked = api.get(f"/api/machineactions/{action['machineActionId']}")
    assert (asked["type"], asked["status"]) == ("StopAndQuarantineFile", "Pending")
    assert asked["relatedFileInfo"]["fileIdentifier"] == EVIL_SHA1
    assert state(api, body["id"]) == "Running"
    finish(api, action["machineActionId"], "Succeeded")
    assert state(api, body["id"]) == "SuccessfullyRemediated"
    alert = api.get(f"/api/alerts/{body['triggeringAlertId']}")
    assert alert["investigationState"] == "SuccessfullyRemediated"


def test_steps_that_are_done_twice_do_nothing_more(api: Api) -> None:
    block(api)
    body = start(api)
    for _ in range(3):
        analyse(api, body["id"])
        api.services.investigations.follow()
    assert len(api.get("/api/machineactions")["value"]) == 1
    assert len(actions(api, body["id"])) == 1


def test_a_crash_between_asking_and_noting_it_asks_no_second_time(api: Api) -> None:
    block(api)
    body = start(api)
    analyse(api, body["id"])
    with api.services.database.session(TENANT) as session:
        row = session.get(Investigation, int(body["id"]))
        row.actions = [{**action, "machineActionId": None} for action in row.actions]
    api.services.investigations.follow()
    assert len(api.get("/api/machineactions")["value"]) == 1
    assert actions(api, body["id"])[0]["machineActionId"]


def test_a_suspicious_file_waits_for_approval(api: Api) -> None:
    body = start(api)
    analyse(api, body["id"])
    (action,) = actions(api, body["id"])
    assert (action["verdict"], action["status"]) == ("Suspicious", "PendingApproval")
    assert state(api, body["id"]) == "PendingApproval"
    assert api.get("/api/machineactions")["value"] == []
    path = f"/api/investigations/{body['id']}/actions/1"
    assert api.error("POST", f"{path}/approve", roles=("Alert.ReadWrite.All",)) == (403, "Forbidden")
    assert api.call("POST", f"{path}/approve").json()["state"] == "Running"
    assert api.error("POST", f"{path}/reject") == (400, "InvalidInput"), "decided once"
    (action,) = actions(api, body["id"])
    finish(api, action["machineActionId"], "Failed", "no file with this hash is known on the device")
    assert state(api, body["id"]) == "SuccessfullyRemediated", "it has gone already"
    for wrong in ("2", "0", "x", "-1"):
        missing = api.error("POST", f"/api/investigations/{body['id']}/actions/{wrong}/approve")
        assert missing == (404, "ResourceNotFound")


def test_rejected_remediation_ends_it(api: Api) -> None:
    body = start(api)
    analyse(api, body["id"])
    answer = api.call("POST", f"/api/investigations/{body['id']}/actions/1/reject")
    assert answer.json()["state"] == "TerminatedByUser"
    with api.services.database.read(TENANT) as session:
        audited = set(session.scalars(select(AuditEntry.action).where(AuditEntry.target == body["id"])))
    assert {"investigation.start", "investigation.reject", "investigation.TerminatedByUser"} <= audited


def test_remediation_that_nobody_approves_lapses_after_a_week(api: Api) -> None:
    body = start(api)
    analyse(api, body["id"])
    with api.services.database.session(TENANT) as session:
        row = session.get(Investigation, int(body["id"]))
        assert timedelta(days=6.9) < row.deadline - now() < timedelta(days=7.1)
        row.deadline = now()
    api.services.investigations.follow()
    assert state(api, body["id"]) == "TerminatedBySystem"
    assert actions(api, body["id"])[0]["status"] == "Expired"


def test_a_device_that_does_not_answer_is_waited_for(api: Api) -> None:
    block(api)
    body = start(api)
    analyse(api, body["id"])
    with api.services.database.session(TENANT) as session:
        long_ago = now() - timedelta(minutes=11)
        session.execute(update(MachineAction).values(creation_time=long_ago))
    api.services.investigations.follow()
    assert state(api, body["id"]) == "PendingResource"
    finish(api, actions(api, body["id"])[0]["machineActionId"], "Failed", "no")
    assert state(api, body["id"]) == "Failed"


@pytest.mark.parametrize(("level", "expected"), [("all_folders", "PendingApproval"), ("none", "Benign")])
def test_the_automation_level_is_kept(api: Api, level: str, expected: str) -> None:
    block(api)
    api.services.investigations._settings = Settings(automation_level=level)
    body = start(api)
    analyse(api, body["id"])
    assert state(api, body["id"]) == expected
    assert api.get("/api/machineactions")["value"] == []


def test_an_allowed_file_and_a_false_positive_are_left_alone(api: Api) -> None:
    block(api, "Allowed")
    body = start(api)
    analyse(api, body["id"])
    assert state(api, body["id"]) == "Benign"
    with api.services.database.session(TENANT) as session:
        session.query(Indicator).delete()
        session.execute(update(Alert).values(classification="FalsePositive"))
    again = start(api)
    assert again["id"] != body["id"]
    analyse(api, again["id"])
    assert state(api, again["id"]) == "Benign"


def test_files_of_other_tenants_and_resolved_alerts_are_no_evidence(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        session.execute(update(Alert).values(status="Resolved"))
    with api.services.database.session(OTHER_TENANT) as session:
        alert = session.scalars(select(Alert)).one()
        evidence = Evidence(
            alert_id=alert.id,
            entity_type="File",
            evidence_creation_time=now(),
            digest="x",
            sha1="9" * 40,
        )
        session.add(evidence)
    body = start(api)
    analyse(api, body["id"])
    assert api.get(f"/api/investigations/{body['id']}/evidence")["value"] == []


def test_an_analysis_that_cannot_be_done_says_so(api: Api) -> None:
    body = start(api)
    api.services.investigations.fail(TENANT, int(body["id"]), "RuntimeError")
    assert state(api, body["id"]) == "InnerFailure"
