"""Remediation tasks, from a recommendation to the last device that was fixed."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from shieldwall.devices.models import Device, DeviceGroup
from shieldwall.errors import ApiError
from shieldwall.exposure import remediation
from shieldwall.exposure.models import RemediationTask
from shieldwall.exposure.remediation import create_task, review
from shieldwall.state import scope
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.api.inventories import check, put

TASK_KEYS = """
id title createdOn requesterId requesterEmail status statusLastModifiedOn description relatedComponent
targetDevices rbacGroupNames fixedDevices requesterNotes dueOn category productivityImpactRemediationType
priority completionMethod completerId completerEmail scid type productId vendorId nameId recommendedVersion
recommendedVendor recommendedProgram recommendationReference
"""
UPDATE = "va-_-contoso-_-web_server"


def make(api: Api, fleet: Callable[..., dict], reference: str = UPDATE, **more: object) -> RemediationTask:
    services = api.services
    tenant = fleet.tenant  # type: ignore[attr-defined]
    return create_task(services.database, services.telemetry, tenant, "ann@contoso.com", reference, **more)


def test_a_task_has_every_property(api: Api, fleet: Callable[..., dict]) -> None:
    made = make(api, fleet, priority="High", due_on=datetime(2026, 12, 1, tzinfo=UTC), notes="soon")
    body = fleet(f"/api/remediationTasks/{made.id.upper()}")
    assert body.pop("@odata.context") == f"{URL}/api/$metadata#RemediationTasks/$entity"
    assert list(body) == TASK_KEYS.split()
    assert (body["title"], body["type"], body["category"]) == ("Update Web Server", "Update", "Software")
    assert (body["targetDevices"], body["fixedDevices"], body["status"]) == (2, 0, "Active")
    assert body["rbacGroupNames"] == ["Unassigned", "Web"], "a list"
    assert (body["requesterEmail"], body["requesterNotes"]) == ("ann@contoso.com", "soon")
    assert (body["dueOn"], body["priority"]) == ("2026-12-01T00:00:00Z", "High")
    assert (body["productId"], body["vendorId"], body["nameId"]) == (
        "contoso-_-web_server",
        "contoso",
        "web_server",
    )
    assert (body["completionMethod"], body["completerId"], body["scid"]) == (None, None, None)
    assert body["recommendationReference"] == UPDATE


def test_tasks_are_listed_newest_first_and_filtered(api: Api, fleet: Callable[..., dict]) -> None:
    first, second = make(api, fleet), make(api, fleet, "sca-_-scid-1")
    body = fleet("/api/remediationtasks/")
    assert body["@odata.context"] == f"{URL}/api/$metadata#RemediationTasks"
    assert [row["id"] for row in body["value"]] == [second.id, first.id]
    assert (body["value"][0]["scid"], body["value"][0]["type"]) == ("scid-1", "ConfigurationChange")
    assert len(fleet("/api/remediationTasks?$filter=status eq 'active'")["value"]) == 2
    assert fleet("/api/remediationTasks?$filter=createdon gt 2999-01-01Z")["value"] == []
    assert api.get("/api/remediationTasks")["value"] == [], "of another tenant"


def test_a_task_is_completed_by_the_last_device_that_is_fixed(api: Api, fleet: Callable[..., dict]) -> None:
    store, tenant, names = api.services.telemetry, fleet.tenant, fleet.names  # type: ignore[attr-defined]
    made = make(api, fleet)
    put(store, "DeviceTvmSoftwareVulnerabilities", tenant, names[SECOND])
    body = fleet(f"/api/remediationTasks/{made.id}")
    assert (body["fixedDevices"], body["status"]) == (1, "Active")
    put(store, "DeviceTvmSoftwareVulnerabilities", tenant, names[DEVICE])
    body = fleet(f"/api/remediationTasks/{made.id}")
    assert (body["fixedDevices"], body["status"], body["completionMethod"]) == (2, "Completed", "Automatic")
    assert body["statusLastModifiedOn"] > body["createdOn"]


def test_a_task_to_configure_is_completed_too(api: Api, fleet: Callable[..., dict]) -> None:
    made = make(api, fleet, "sca-_-scid-1")
    put(
        api.services.telemetry,
        "DeviceTvmSecureConfigurationAssessment",
        fleet.tenant,  # type: ignore[attr-defined]
        fleet.names[DEVICE],  # type: ignore[attr-defined]
        check("scid-1", True, 8),
    )
    assert fleet(f"/api/remediationTasks/{made.id}")["status"] == "Completed"


def test_devices_of_a_task(api: Api, fleet: Callable[..., dict]) -> None:
    made = make(api, fleet)
    body = fleet(f"/api/remediationTasks/{made.id}/machineReferences")
    assert body["@odata.context"] == f"{URL}/api/$metadata#MachineReferences"
    assert {row["computerDnsName"] for row in body["value"]} == {"web01", "web02"}
    assert {"id", "osPlatform", "rbacGroupName"} <= set(body["value"][0])


def test_a_task_needs_a_recommendation(api: Api, fleet: Callable[..., dict]) -> None:
    with pytest.raises(ApiError) as refused:
        make(api, fleet, "va-_-nobody-_-nothing")
    assert refused.value.code == "ResourceNotFound"


@pytest.mark.parametrize("end", ["", "/machineReferences"])
def test_unknown_tasks_are_404(api: Api, end: str) -> None:
    path = f"/api/remediationTasks/11111111-2222-4333-8444-555555555555{end}"
    assert api.error("GET", path) == (404, "ResourceNotFound")
    assert api.error("GET", path, roles=("Software.Read.All",)) == (403, "Forbidden")


def test_a_task_is_requested_over_the_api(api: Api, fleet: Callable[..., dict]) -> None:
    def request(**more: object) -> dict[str, object]:
        return {"tenant": fleet.tenant, "json": {"recommendationReference": UPDATE} | more}  # type: ignore[attr-defined]

    body = {"priority": "high", "dueOn": "2026-12-01", "requesterNotes": "soon"}
    answer = api.call("POST", "/api/remediationTasks", **request(**body))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["priority"], made["dueOn"], made["targetDevices"]) == ("High", "2026-12-01T00:00:00Z", 2)
    assert fleet(f"/api/remediationTasks/{made['id']}")["requesterNotes"] == "soon"
    for wrong in ({"priority": "Highest"}, {"dueOn": "soon"}):
        refused = api.error("POST", "/api/remediationTasks", **request(**wrong))
        assert refused == (400, "InvalidRequestBody")
    unknown = request(recommendationReference="va-_-a-_-b")
    assert api.error("POST", "/api/remediationTasks", **unknown) == (404, "ResourceNotFound")
    assert api.error("POST", "/api/remediationTasks", json={}) == (400, "MissingRequiredParameter")
    reader = request() | {"roles": ("RemediationTasks.Read.All",)}
    assert api.error("POST", "/api/remediationTasks", **reader) == (403, "Forbidden")


def test_who_sees_some_devices_takes_the_others_not_for_fixed(
    api: Api, fleet: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hunting rows of a device that changed its group are still of the old one."""
    made, tenant = make(api, fleet), fleet.tenant  # type: ignore[attr-defined]
    with api.services.database.session(tenant) as session:
        group = DeviceGroup(name="New")
        session.add(group)
        session.flush()
        session.execute(
            update(Device).where(Device.id == fleet.names[SECOND]).values(device_group_id=group.id)  # type: ignore[attr-defined]
        )
        reach = scope.DeviceScope(frozenset({group.id}), frozenset({"New"}))

    def look() -> int:
        scope.narrow(reach)
        review(api.services.database, api.services.telemetry, tenant)
        with api.services.database.read(tenant) as session:
            return len(session.scalars(select(RemediationTask)).all())

    assert Context().run(look) == 1
    assert fleet(f"/api/remediationTasks/{made.id}")["fixedDevices"] == 0


def test_tasks_of_other_devices_are_hidden_from_who_sees_some(api: Api, fleet: Callable[..., dict]) -> None:
    make(api, fleet, "sca-_-scid-1")  # of the first device alone
    tenant = fleet.tenant  # type: ignore[attr-defined]

    def seen(name: str) -> int:
        with api.services.database.read(tenant) as session:
            ids = {row.name: row.id for row in session.scalars(select(DeviceGroup))} | {"": 0}
        scope.narrow(scope.DeviceScope(frozenset({ids[name]}), frozenset({name})))
        with api.services.database.read(tenant) as session:
            return len(session.scalars(select(RemediationTask)).all())

    assert Context().run(seen, "Web") == 1
    assert Context().run(seen, "") == 0


def test_many_devices_of_one_task_take_none_of_another_for_fixed(
    api: Api, fleet: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each recommendation has a bound of its own: what lies beyond it is not fixed."""
    monkeypatch.setattr(remediation, "DEVICES_LIMIT", 2)
    monkeypatch.setattr(remediation, "_OPEN", remediation._OPEN.replace("LIMIT 50001", "LIMIT 3"))
    first, second = make(api, fleet), make(api, fleet, "sca-_-scid-1")
    for task in (first, second):
        assert fleet(f"/api/remediationTasks/{task.id}")["fixedDevices"] == 0
    monkeypatch.setattr(remediation, "DEVICES_LIMIT", 1)
    with pytest.raises(ApiError, match="more than 1 devices"):
        make(api, fleet)


def test_a_tenant_has_only_so_many_active_tasks(
    api: Api, fleet: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remediation, "TASKS_LIMIT", 1)
    make(api, fleet)
    with pytest.raises(ApiError, match="At most 1"):
        make(api, fleet)
