"""Settings of data export: targets and tables, checked and kept."""

from __future__ import annotations

from typing import Any

import pytest

from shieldwall.telemetry.data_exports import TABLES
from shieldwall.telemetry.schema import TABLES as HUNTING
from tests.api.conftest import Api
from tests.conftest import OTHER_TENANT, TENANT

PATH = "/api/dataExportSettings"
GROUP = f"/subscriptions/{'0' * 8}-0000-4000-8000-{'0' * 12}/resourceGroups/soc-rg/providers"
HUB = f"{GROUP}/Microsoft.EventHub/namespaces/events"
STORAGE = f"{GROUP}/Microsoft.Storage/storageAccounts/events01"
WORKSPACE = f"{GROUP}/Microsoft.OperationalInsights/workspaces/sentinel"
TABLE = "AdvancedHunting-AlertInfo"
KEYS = "id designatedTenantId eventHubProperties storageAccountProperties workspaceProperties logs"


def setting(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": "To the SIEM",
        "eventHubProperties": {"name": "hub", "eventHubResourceId": HUB},
        "logs": [{"category": "AdvancedHunting-DeviceEvents", "enabled": True}],
    }
    return {name: value for name, value in (values | more).items() if value is not None}


def put(api: Api, **more: Any) -> dict[str, Any]:
    answer = api.call("POST", PATH, json=setting(**more))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_setting_has_every_property(api: Api) -> None:
    made = put(api)
    assert set(made) == {"@odata.context", *KEYS.split()}
    assert made["designatedTenantId"] == TENANT
    assert made["eventHubProperties"] == {"name": "hub", "eventHubResourceId": HUB}
    assert made["storageAccountProperties"] is made["workspaceProperties"] is None
    kept = {name: value for name, value in made.items() if name != "@odata.context"}
    assert api.get(PATH)["value"] == [kept]
    assert api.get(f"{PATH}/to%20the%20siem") == made
    assert api.get(f"{PATH}?$filter=id eq 'TO THE SIEM'")["value"] == [kept]
    assert api.get(PATH, tenant=OTHER_TENANT)["value"] == []
    assert api.call("DELETE", f"{PATH}/To%20the%20SIEM").status_code == 204
    assert api.get(PATH)["value"] == []


def test_a_setting_of_the_same_name_is_replaced(api: Api) -> None:
    put(api)
    storage = {"storageAccountResourceId": STORAGE}
    logs = [{"category": "advancedhunting-devicelogonevents", "enabled": False}, {"category": TABLE}]
    made = put(api, id="to the siem", eventHubProperties=None, storageAccountProperties=storage, logs=logs)
    assert (made["eventHubProperties"], made["storageAccountProperties"]) == (None, storage)
    assert made["logs"] == [
        {"category": "AdvancedHunting-DeviceLogonEvents", "enabled": False},
        {"category": TABLE, "enabled": True},
    ]
    assert len(api.get(PATH)["value"]) == 1


def test_a_hub_need_not_be_named_and_a_workspace_is_a_target_too(api: Api) -> None:
    assert put(api, eventHubProperties={"eventHubResourceId": HUB})["eventHubProperties"]["name"] is None
    made = put(api, eventHubProperties=None, workspaceProperties={"workspaceResourceId": WORKSPACE})
    assert made["workspaceProperties"] == {"workspaceResourceId": WORKSPACE}


def test_every_table_that_is_exported_is_a_hunting_table() -> None:
    assert set(TABLES) <= set(HUNTING)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": None}, "MissingRequiredParameter"),
        ({"id": "a/b"}, "InvalidRequestBody"),
        ({"id": "x" * 101}, "InvalidRequestBody"),
        ({"id": 5}, "InvalidRequestBody"),
        ({"designatedTenantId": OTHER_TENANT}, "InvalidInput"),
        ({"eventHubProperties": None}, "InvalidRequestBody"),
        ({"storageAccountProperties": {"storageAccountResourceId": STORAGE}}, "InvalidRequestBody"),
        ({"eventHubProperties": "hub"}, "InvalidRequestBody"),
        ({"eventHubProperties": {"eventHubResourceId": STORAGE}}, "InvalidRequestBody"),
        ({"eventHubProperties": {"eventHubResourceId": HUB + "/../x"}}, "InvalidRequestBody"),
        ({"eventHubProperties": {"eventHubResourceId": HUB, "name": "a b"}}, "InvalidRequestBody"),
        ({"logs": None}, "MissingRequiredParameter"),
        ({"logs": []}, "InvalidRequestBody"),
        ({"logs": [{"category": "AdvancedHunting-MessageContents"}]}, "InvalidInput"),
        ({"logs": ["AdvancedHunting-DeviceEvents"]}, "InvalidInput"),
        ({"logs": [{"category": TABLE, "enabled": "yes"}]}, "InvalidRequestBody"),
        ({"logs": [{"category": TABLE}, {"category": TABLE.lower()}]}, "InvalidRequestBody"),
    ],
)
def test_what_is_wrong_is_said(api: Api, change: dict[str, Any], code: str) -> None:
    assert api.error("POST", PATH, json=setting(**change)) == (400, code)
    assert api.get(PATH)["value"] == []


def test_a_tenant_has_five_at_most(api: Api) -> None:
    for number in range(5):
        put(api, id=f"setting {number}")
    put(api, id="Setting 0")
    assert api.error("POST", PATH, json=setting(id="one more")) == (400, "BadRequest")
    assert len(api.get(PATH)["value"]) == 5
