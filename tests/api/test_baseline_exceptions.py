"""Exceptions from security baselines, and what they do to the assessment."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from shieldwall.exposure import exemptions
from shieldwall.exposure.models import BaselineException
from shieldwall.times import now, to_text
from tests.api.conftest import DEVICE, FOREIGN, SECOND, Api
from tests.api.inventories import fill_baselines

KEYS = """
id approvedBy justification dueDate description status isActive softwareName softwareVersion benchmarkName
benchmarkVersion complianceLevel configurations devices lastModifiedOn lastModifiedBy title createdOn
requester
"""
PATH = "/api/baselineExceptions"

Fleet = Callable[..., Any]


@pytest.fixture
def assessed(api: Api, fleet: Fleet) -> Fleet:
    """The fleet, whose devices both fail one of two settings of a baseline."""
    names = fleet.names  # type: ignore[attr-defined]
    fill_baselines(api.services.telemetry, tenant_of(fleet), names[DEVICE], names[SECOND])
    return fleet


def tenant_of(fleet: Fleet) -> str:
    return str(fleet.tenant)  # type: ignore[attr-defined]


def body(**more: Any) -> dict[str, Any]:
    values = {
        "configurations": ["ccid-1"],
        "dueDate": to_text(now() + timedelta(days=30)),
        "title": "Old host",
    }
    return values | more


def make(api: Api, fleet: Fleet, **more: Any) -> dict[str, Any]:
    answer = api.call("POST", PATH, json=body(**more), tenant=tenant_of(fleet))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def exempt(fleet: Fleet) -> list[tuple[str, str]]:
    rows = fleet("/api/machines/baselineComplianceAssessmentByMachine")["value"]
    return sorted((row["configurationId"], row["deviceId"]) for row in rows if row["isExempt"])


def passed(fleet: Fleet) -> tuple[int, int]:
    (row,) = fleet("/api/baselineProfiles")["value"]
    return row["passedDevices"], row["totalDevices"]


def test_an_exception_has_every_property(api: Api, assessed: Fleet) -> None:
    device = assessed.names[DEVICE]  # type: ignore[attr-defined]
    made = make(api, assessed, devices=[device.upper()], justification="Replaced in May", approvedBy="Ann")
    assert set(made) == {"@odata.context", *KEYS.split()}
    UUID(made["id"])
    assert (made["status"], made["isActive"], made["title"]) == ("Active", True, "Old host")
    assert (made["benchmarkName"], made["benchmarkVersion"]) == ("CIS", "2.0")
    assert made["configurations"] == [{"id": "ccid-1", "name": "Setting 1"}]
    assert [each["id"] for each in made["devices"]] == [device]
    assert made["requester"] == made["lastModifiedBy"]
    kept = {name: value for name, value in made.items() if name != "@odata.context"}
    assert assessed(PATH)["value"] == [kept]
    assert assessed(f"{PATH}/{made['id'].upper()}") == made
    assert assessed(f"{PATH}?$filter=title eq 'old host'")["value"] == [kept]
    assert assessed(f"{PATH}?$filter=dueDate lt {to_text(now())}")["value"] == []
    assert api.get(PATH)["value"] == [], "another tenant's"


def test_devices_are_exempt_while_it_is_in_force(api: Api, assessed: Fleet) -> None:
    device = assessed.names[DEVICE]  # type: ignore[attr-defined]
    assert (exempt(assessed), passed(assessed)) == ([], (0, 2))
    made = make(api, assessed, devices=[device])
    assert exempt(assessed) == [("ccid-1", device)]
    assert passed(assessed) == (1, 2)
    make(api, assessed, configurations=["ccid-1", "ccid-2"])
    assert len(exempt(assessed)) == 4, "no device named: all of them"
    assert passed(assessed) == (2, 2)
    for each in assessed(PATH)["value"]:
        if each["id"] != made["id"]:
            gone = api.call("DELETE", f"{PATH}/{each['id']}", tenant=tenant_of(assessed))
            assert (gone.status_code, gone.content) == (204, b"")
    assert exempt(assessed) == [("ccid-1", device)]
    with api.services.database.session(tenant_of(assessed)) as session:
        session.get(BaselineException, made["id"]).due_date = now() - timedelta(seconds=1)
    assert (exempt(assessed), passed(assessed)) == ([], (0, 2))
    over = assessed(f"{PATH}/{made['id']}")
    assert (over["status"], over["isActive"]) == ("Expired", False)


def test_files_of_the_export_show_it(api: Api, assessed: Fleet) -> None:
    make(api, assessed)
    (link,) = assessed("/api/machines/BaselineComplianceAssessmentExport")["exportFiles"]
    lines = gzip.decompress(api.http.request("GET", link).content).splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted({row["ConfigurationId"] for row in rows if row["IsExempt"]}) == ["ccid-1"]


def test_due_date_and_texts_can_be_changed(api: Api, assessed: Fleet) -> None:
    made = make(api, assessed)
    change = {"dueDate": "2300-01-01T00:00:00Z", "JUSTIFICATION": "Longer"}
    answer = api.call("PATCH", f"{PATH}/{made['id']}", json=change, tenant=tenant_of(assessed))
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert (changed["dueDate"], changed["justification"]) == ("2300-01-01T00:00:00Z", "Longer")
    assert changed["title"] == made["title"]
    assert changed["lastModifiedOn"] > made["lastModifiedOn"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"configurations": ["ccid-1", "nothing"]}, "InvalidInput"),
        ({"configurations": []}, "InvalidRequestBody"),
        ({"configurations": "ccid-1"}, "InvalidRequestBody"),
        ({"configurations": ["ccid-1"] * 201}, "InvalidRequestBody"),
        ({"configurations": None}, "MissingRequiredParameter"),
        ({"devices": ["c" * 40]}, "InvalidInput"),
        ({"devices": [FOREIGN]}, "InvalidInput"),
        ({"devices": ["c" * 40] * 1001}, "InvalidRequestBody"),
        ({"dueDate": None}, "MissingRequiredParameter"),
        ({"dueDate": "tomorrow"}, "InvalidRequestBody"),
        ({"dueDate": "2020-01-01"}, "InvalidInput"),
        ({"title": "x" * 301}, "InvalidRequestBody"),
    ],
)
def test_what_is_wrong_is_said(api: Api, assessed: Fleet, change: dict[str, Any], code: str) -> None:
    refused = api.error("POST", PATH, json=body(**change), tenant=tenant_of(assessed))
    assert refused == (400, code)
    assert assessed(PATH)["value"] == []


def test_a_tenant_has_so_many_at_most(api: Api, assessed: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemptions, "EXCEPTIONS_LIMIT", 1)
    make(api, assessed)
    assert api.error("POST", PATH, json=body(), tenant=tenant_of(assessed)) == (400, "BadRequest")
