"""Every operation against the contract: who may call it, how it refuses, and what it answers.

Made from `src/shieldwall/api/contract/`, so that an operation is proved by being written there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from fastapi.routing import APIRoute

from shieldwall.api.app import MODULES
from shieldwall.api.contract import Operation, Type, load, shape
from shieldwall.api.contract.coverage import is_served, render, routes
from shieldwall.exposure.remediation import create_task
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, to_text
from tests.api.conftest import ALL, DEVICE, SECOND, Api, Template, opened
from tests.api.inventories import CVE, fill, fill_baselines
from tests.conftest import TENANT

CONTRACT = load()
SERVED = routes()

PENDING: frozenset[str] = frozenset()
"""Operations that are not served yet. One that is served has to go from here."""

OTHERWISE = {
    "GET /api/machines/find(timestamp={time},key={IP})": (404, "NotFound", "no device was there then"),
    "POST /api/alerts/CreateAlertByReference": (404, "ResourceNotFound", "no event is stored"),
    "GET /api/alerts/{id}/external": (404, "ResourceNotFound", "the alert is our own"),
    "GET /api/machineactions/{id}/getPackageUri": (404, "ResourceNotFound", "no agent has sent a package"),
    "GET /api/machineactions/{id}/GetLiveResponseResultDownloadLink(index={commandIndex})": (
        400,
        "InvalidInput",
        "the action is another one",
    ),
}
"""Operations whose good answer needs more than the contract's tests have, with what they answer instead."""

NOT_FILTERED = {
    ("GET /api/indicators", "rbacGroupIds"): "an indicator keeps the names of its groups",
    **{
        ("GET /api/browserextensions/permissionsinfo", name): "the page has the list of vulnerabilities"
        for name in ("cvssV3", "publishedOn", "severity", "updatedOn")
    },
}
"""Properties by which the documentation filters and this server does not."""

ALERT = f"da{1:018d}_1"
SCANS = "/api/DeviceAuthenticatedScanDefinitions"
HUB = (
    f"/subscriptions/{'0' * 8}-0000-4000-8000-{'0' * 12}/resourceGroups/soc"
    "/providers/Microsoft.EventHub/namespaces/events"
)
UNKNOWN_GUID = "00000000-0000-4000-8000-000000000000"
UNKNOWN = {"machines": "c" * 40, "machineactions": UNKNOWN_GUID, "files": "9" * 40}
"""Ids that nothing has, in the form that the operation wants; others are told by a number."""

BODY: Mapping[str, Any] = {
    "machineId": DEVICE,
    "MachineIds": [DEVICE],
    "alertIds": [ALERT],
    "Sha1": "1" * 40,
    "indicatorValue": "203.0.113.77",
    "indicatorType": "IpAddress",
    "action": "Block",
    "Query": "DeviceInfo | take 1",
    "Commands": [{"type": "GetFile", "params": [{"key": "Path", "value": "/etc/hosts"}]}],
    "time": to_text(now()),
    "rules": [{"vendor": "Contoso"}],
    "allowed": ["good.example"],
    "days": 7,
    "eventTime": "2026-01-01T00:00:00.1234567Z",
    "reportId": "20776",
    "comment": "looked at",
    "queryCondition": {"queryText": "DeviceProcessEvents"},
    "schedule": {"period": "24H"},
    "detectionAction": {"alertTemplate": {"title": "t", "severity": "low"}},
    "tags": ["one"],
    "customTags": ["one"],
    "machineTags": ["prod"],
    "status": "InProgress",
    "Timespan": "P1D",
    "scannerAgent": {"machineId": DEVICE},
    "scanAuthenticationParams": {"type": "CommunityString", "communityString": "public"},
    "ScanDefinitionIds": ["00000000-0000-4000-8000-000000000000"],
    "SessionIds": ["0" * 32],
    "eventHubProperties": {"name": None, "eventHubResourceId": HUB},
    "logs": [{"category": "AdvancedHunting-DeviceEvents", "enabled": True}],
    "configurations": ["ccid-1"],
    "devices": [DEVICE],
    "dueDate": to_text(now() + timedelta(days=30)),
}

JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "long": (int,),
    "double": (int, float),
    "bool": (bool,),
    "object": (dict, list, str),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")


def named(operation: Operation) -> str:
    return operation.name


def of(*conditions: Any) -> Any:
    """One case for each served operation that has all that ``conditions`` ask for."""
    cases = [
        each
        for each in CONTRACT.operations
        if is_served(each, SERVED) and each.path.startswith(("/api", "/v1.0"))
        if all(condition(each) for condition in conditions)
    ]
    return pytest.mark.parametrize("operation", cases, ids=named)


def has_permission(operation: Operation) -> bool:
    return bool(operation.application)


def reads_one(operation: Operation) -> bool:
    return "{" in operation.path and any(status == 404 for status, _ in operation.errors)


def is_list(operation: Operation) -> bool:
    return operation.method == "GET" and bool(operation.filter)


class World:
    """The served application with one of everything that can be made through it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._made: dict[str, str] = {}

    def known(self, kind: str) -> str:
        """The id of something that there is."""
        fixed = {
            "machines": DEVICE,
            "alerts": ALERT,
            "alerts_v2": ALERT,
            "incidents": "1",
            "files": "1" * 40,
            "ips": "203.0.113.9",
            "domains": "bad.example.com",
            "users": "root",
            "software": "contoso-_-web_server",
            "vulnerabilities": CVE,
            "recommendations": "va-_-contoso-_-web_server",
        }
        if kind in fixed:
            return fixed[kind]
        if kind not in self._made:
            self._made[kind] = self.make(kind)
        return self._made[kind]

    def make(self, kind: str) -> str:
        """A new thing of its kind; an id that nothing has where the API cannot make one."""
        if kind == "machineactions":
            path = f"/api/machines/{DEVICE}/collectInvestigationPackage"
            self.api.call("POST", path, json={"Comment": "x"})
            wanted = "/api/machineactions?$filter=type eq 'CollectInvestigationPackage'"
            return str(self.api.get(wanted)["value"][0]["id"])
        if kind == "indicators":
            number = len(self.api.get("/api/indicators")["value"])
            body = {
                "indicatorValue": f"198.51.100.{number + 1}",
                "indicatorType": "IpAddress",
                "action": "Block",
                "title": "t",
                "description": "d",
            }
            return str(self.api.call("POST", "/api/indicators", json=body).json()["id"])
        if kind == "indicatoroffers":
            # Each is decided once.
            number = self.api.get("/api/indicatorOffers?$count=true&$top=0")["@odata.count"]
            named = {"vendor": "Contoso", "product": "Sensor", "title": "t", "time": to_text(now())}
            accused = [{"sha256": f"{number + 1:064x}"}]
            self.api.call("POST", "/api/alerts/external", json={**named, "files": accused})
            return str(self.api.get("/api/indicatorOffers")["value"][0]["id"])
        if kind == "detectionrules":
            number = len(self.api.get("/beta/security/rules/detectionRules")["value"])
            names = ("queryCondition", "schedule", "detectionAction")
            body = {name: BODY[name] for name in names} | {"displayName": f"rule {number}"}
            made = self.api.call("POST", "/beta/security/rules/detectionRules", json=body)
            return str(made.json()["id"])
        if kind == "suppressions":
            path = f"/api/detectionRules/{self.known('detectionrules')}/suppressions"
            body = {"column": "FileName", "value": "x", "reason": "known"}
            return str(self.api.call("POST", path, json=body).json()["id"])
        if kind == "investigations":
            path = f"/api/machines/{DEVICE}/startInvestigation"
            found = self.api.call("POST", path, json={"Comment": "x"}).json()
            return str(found.get("id", UNKNOWN_GUID))
        if kind == "deviceauthenticatedscandefinitions":
            operation = next(each for each in CONTRACT.operations if each.name == f"POST {SCANS}")
            return str(self.api.call("POST", SCANS, json=self.body(operation)).json()["id"])
        if kind == "deviceauthenticatedscanagents":
            self.make("deviceauthenticatedscandefinitions")
            return DEVICE
        if kind in ("dataexportsettings", "baselineexceptions"):
            operation = next(each for each in CONTRACT.operations if each.name.lower() == f"post /api/{kind}")
            made = self.send(operation, operation.path)
            return str(made.json()["id"])
        if kind == "remediationtasks":
            services = self.api.services
            advice = self.known("recommendations")
            return create_task(services.database, services.telemetry, TENANT, "somebody", advice).id
        if kind == "libraryfiles":
            self.api.call("POST", "/api/libraryfiles", files={"file": ("known.sh", b"#!/bin/sh\n")})
            return "known.sh"
        return "1"

    def path(self, operation: Operation, *, unknown: bool = False) -> str:
        """The operation's path with values in it, and the parameters that it must have."""
        times = {"timestamp": to_text(now()), "time": to_text(now()), "ip": "10.0.0.5"}

        def value(found: re.Match[str]) -> str:
            kind = operation.path[: found.start()].rstrip("/").rpartition("/")[2].lower()
            name = found[1].lower()
            if name in times and "(" in operation.path:
                return times[name]
            if name == "commandindex":
                return "0"
            if unknown:
                return UNKNOWN.get(kind, "999999999")
            if kind == "indicatoroffers":
                return self.make(kind)
            if kind == "machines" and operation.path.rpartition("/")[2].startswith("un"):
                # The other device has just been asked for the opposite.
                return SECOND
            removed = operation.method == "DELETE" and found.end() == len(operation.path)
            return quote(self.make(kind) if removed else self.known(kind), safe="")

        path = re.sub(r"\{([^{}]*)\}", value, operation.path)
        given = {"key": "DeviceInfo | take 1", "tag": "prod", "sinceTime": to_text(now() - timedelta(days=1))}
        needed = [name for name, must in (operation.parameters or {}).items() if must]
        return path + ("?" + "&".join(f"{name}={quote(given[name])}" for name in needed) if needed else "")

    def body(self, operation: Operation) -> dict[str, Any]:
        """Each needed property, and the first of the others."""
        body = operation.body or {}
        if "Indicators" in body:
            names = ("indicatorValue", "indicatorType", "action")
            if operation.path.endswith("BatchUpdate"):
                return {"Indicators": [{"id": self.make("indicators"), "title": "changed"}]}
            return {"Indicators": [{name: BODY[name] for name in names} | {"title": "t", "description": "d"}]}
        if "IndicatorIds" in body:
            return {"IndicatorIds": [self.make("indicators")]}
        if "eventHubProperties" in body:
            return {"id": "stream", **{name: BODY[name] for name in ("eventHubProperties", "logs")}}
        other = next((name for name, kind in body.items() if not kind.required), None)
        return {name: value_of(name, kind) for name, kind in body.items() if kind.required or name == other}

    def send(self, operation: Operation, path: str, **more: Any) -> Any:
        if operation.body and "File" in operation.body:
            more["files"] = {"file": ("hello.sh", b"#!/bin/sh\necho hello\n")}
            more["data"] = {"Description": "says hello", "OverrideIfExists": "true"}
        elif operation.body is not None:
            more["json"] = self.body(operation)
        return self.api.call(operation.method, path, **more)


def value_of(name: str, kind: Type) -> Any:
    found = BODY.get(name)
    if found is not None and (not kind.values or kind.name == "array" or found in kind.values):
        return found
    if kind.values:
        return kind.values[0]
    plain: dict[str, Any] = {"bool": True, "int": 1, "array": ["1"], "datetime": "2026-01-01T00:00:00Z"}
    return plain.get(kind.name, "text")


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, template: Template, telemetry: TelemetryStore
) -> Iterator[World]:
    with opened(tmp_path_factory.mktemp("contract"), template, telemetry) as api:
        fill(telemetry, TENANT, {DEVICE: DEVICE, SECOND: SECOND})
        fill_baselines(telemetry, TENANT, DEVICE)
        yield World(api)


def refusal(answer: Any) -> tuple[int, str]:
    """Status and code of an error in the documented shape."""
    body = answer.json()
    assert list(body) == ["error"], answer.text
    # Errors of the Graph paths have another shape inside.
    assert set(body["error"]) in ({"code", "message", "target"}, {"code", "message", "innerError"})
    return answer.status_code, body["error"]["code"]


def test_what_is_not_served_is_pending_and_nothing_else_is() -> None:
    missing = {each.name for each in CONTRACT.operations if not is_served(each, SERVED)}
    assert not PENDING - missing, "these are served now: take them out of PENDING"
    assert not missing - PENDING, "these are no longer served"


def test_the_coverage_document_is_current() -> None:
    root = Path(__file__).parents[2]
    assert (root / "docs" / "api-coverage.md").read_text() == render(root / "tests"), (
        "run `python -m shieldwall.api.contract`"
    )


def test_every_documented_operation_is_in_the_contract_once() -> None:
    assert len({each.name for each in CONTRACT.operations}) == len(CONTRACT.operations) == 190


@of(has_permission)
def test_callers_without_the_permission_are_refused(world: World, operation: Operation) -> None:
    without = tuple(role for role in ALL if role not in operation.application)
    answer = world.api.call(operation.method, world.path(operation, unknown=True), roles=without)
    assert refusal(answer) == (403, "Forbidden")


@of(has_permission)
def test_each_permission_of_the_contract_opens_it(world: World, operation: Operation) -> None:
    for role in operation.application:
        answer = world.api.call(operation.method, world.path(operation, unknown=True), roles=(role,))
        assert answer.status_code not in (401, 403), f"{role}: {answer.text}"
        assert answer.status_code < 500


@of(has_permission)
def test_people_need_the_delegated_permission_of_the_contract(operation: Operation) -> None:
    """What a route asks of people; that it is asked of them is proved where people sign in."""
    (route,) = (
        route
        for module in MODULES
        for route in module.router.routes
        if isinstance(route, APIRoute) and operation.method in route.methods
        if shape(route.path) == shape(operation.path)
    )
    assert set(route.openapi_extra["x-delegated-permissions"]) == set(operation.delegated)


@of()
def test_a_wrong_verb_is_405_with_allow(world: World, operation: Operation) -> None:
    answer = world.api.call("PUT", world.path(operation, unknown=True).partition("?")[0])
    assert (answer.status_code, answer.content) == (405, b"")
    assert operation.method in answer.headers["allow"].split(", ")


@of(reads_one)
def test_an_unknown_id_is_404_in_the_shape_of_errors(world: World, operation: Operation) -> None:
    codes = {code for status, code in operation.errors if status == 404}
    status, code = refusal(world.send(operation, world.path(operation, unknown=True)))
    assert status == 404
    assert code in codes


@of()
def test_a_good_request_answers_as_written(world: World, operation: Operation) -> None:
    answer = world.send(operation, world.path(operation))
    if operation.name in OTHERWISE:
        status, code, _ = OTHERWISE[operation.name]
        assert refusal(answer) == (status, code)
        return
    assert answer.status_code == operation.answer.status, answer.text
    kind = operation.answer.kind
    if not kind:
        assert operation.answer.status != 204 or not answer.content
    elif kind == "number":
        assert answer.text.isdigit()
    elif kind == "Edm.String":
        assert isinstance(answer.json()["value"], str)
    else:
        body = answer.json()
        items = body["value"] if operation.answer.many else [body]
        problems = [problem for item in items for problem in differences(item, kind, kind)]
        assert not problems


@of(is_list)
def test_each_query_option_is_accepted(world: World, operation: Operation) -> None:
    path = world.path(operation)
    kind = CONTRACT.entities.get(operation.answer.kind, CONTRACT.entities["Alert"])
    options = [
        f"$filter={quote(condition(name, kind))}"
        for name in operation.filter
        if (operation.name, name) not in NOT_FILTERED
    ]
    options += [f"$expand={name}" for name in operation.expand]
    if operation.top:
        options += ["$top=1", "$count=true", f"$orderby={operation.filter[0]} desc", "$select=id"]
    if operation.skip:
        options.append("$skip=1")
    refused = {
        option: answer.text
        for option in options
        if (answer := world.api.call("GET", f"{path}?{option}")).status_code != 200
    }
    assert not refused


@of(is_list)
def test_a_wrong_query_option_is_an_odata_error(world: World, operation: Operation) -> None:
    code = dict(operation.errors).get(400, "ODataError")
    wrong = ["$filter=nosuchproperty eq 1", "$filter=)"]
    if operation.top:
        wrong += ["$orderby=nosuchproperty", "$top=x", "$skip=-1"]
    if operation.top == 10_000:
        wrong.append(f"$top={operation.top + 1}")
    for option in wrong:
        answer = world.api.call("GET", f"{world.path(operation)}?{option}")
        assert refusal(answer) == (400, code), option


def condition(name: str, kind: Mapping[str, Type]) -> str:
    """A filter on the property that any row may fail."""
    held = kind.get(name, Type("string"))
    if held.name == "array":
        return f"{name}/any(x:x eq {1 if held.of == 'int' else repr('x')})"
    literals = {"datetime": "2026-01-01T00:00:00Z", "bool": "true", "int": "1", "long": "1", "double": "1"}
    return f"{name} eq {literals.get(held.name, repr(held.values[0] if held.values else 'x'))}"


def differences(value: Any, kind: str, where: str) -> Iterator[str]:
    """What is not as the contract says of an entity: properties that miss, and values of another type."""
    for name, held in CONTRACT.entities[kind].items():
        if name not in value:
            yield f"{where}/{name} is missing"
        else:
            yield from _wrong(value[name], held, f"{where}/{name}")


def _wrong(value: Any, held: Type, where: str) -> Iterator[str]:
    if value is None:
        if not held.nullable:
            yield f"{where} is null"
    elif held.name == "array":
        if not isinstance(value, list):
            yield f"{where} is no list: {value!r}"
            return
        for item in value:
            yield from _wrong(item, Type(held.of, open=True), where)
    elif held.name in CONTRACT.entities:
        yield from differences(value, held.name, where)
    elif held.name == "datetime":
        if not (isinstance(value, str) and _TIME.fullmatch(value)):
            yield f"{where} is no time: {value!r}"
    elif held.name == "guid":
        try:
            UUID(value)
        except (ValueError, AttributeError):
            yield f"{where} is no GUID: {value!r}"
    elif not isinstance(value, JSON_TYPES[held.name]) or (isinstance(value, bool) and held.name != "bool"):
        yield f"{where} is no {held.name}: {value!r}"
    elif held.values and not held.open and str(value) not in held.values:
        yield f"{where} is none of {held.values}: {value!r}"


def test_the_checks_of_values_find_what_is_wrong() -> None:
    good = {"host": "x"}
    assert list(differences(good, "Domain", "")) == []
    assert list(differences({}, "Domain", "")) == ["/host is missing"]
    assert list(differences({"host": None}, "Domain", "")) == ["/host is null"]
    for held, value in (
        (Type("int"), True),
        (Type("string"), 1),
        (Type("bool"), 0),
        (Type("datetime"), "2026-01-01 00:00:00"),
        (Type("guid"), "x"),
        (Type("array", of="Domain"), [{}]),
        (Type("array", of="string"), "x"),
        (Type("string", values=("a",)), "b"),
    ):
        assert list(_wrong(value, held, "")), (held, value)


def test_shapes_tell_paths_apart() -> None:
    shapes = [(each.method, shape(each.path), each.grant) for each in CONTRACT.operations]
    assert len(set(shapes)) == len(shapes)
