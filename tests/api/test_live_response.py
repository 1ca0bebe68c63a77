"""Live response and its library, as the contract describes them and clients read them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import select, update

from shieldwall.devices.models import Device
from shieldwall.identity.models import AuditEntry
from shieldwall.response.models import MachineAction
from shieldwall.settings import Settings
from tests.api.conftest import DEVICE, SECOND, URL, Api
from tests.conftest import OTHER_TENANT, TENANT

SCRIPT = b"#!/bin/sh\necho hello\n"
RUN = {"type": "RunScript", "params": [{"key": "ScriptName", "value": "look.sh"}]}
GET = {"type": "GetFile", "params": [{"key": "Path", "value": "/var/log/some log.txt"}]}
PUT = {"type": "PutFile", "params": [{"key": "FileName", "value": "look.sh"}]}
LIBRARY_KEYS = (
    "fileName sha256 description creationTime lastUpdatedTime createdBy hasParameters parametersDescription"
)


def upload(api: Api, name: str = "look.sh", content: bytes = SCRIPT, **more: str) -> Any:
    return api.call("POST", "/api/libraryfiles", files={"file": (name, content)}, data=more)


def run(api: Api, *commands: object, machine: str = DEVICE, comment: str = "look") -> Any:
    body = {"Commands": list(commands), "Comment": comment}
    return api.call("POST", f"/api/machines/{machine}/runliveresponse", json=body)


def refused(api: Api, *commands: object) -> tuple[int, str]:
    path = f"/api/machines/{DEVICE}/runliveresponse"
    return api.error("POST", path, json={"Commands": list(commands), "Comment": "x"})


def report(api: Api, action_id: str, status: str, **result: object) -> None:
    api.services.actions.record_status(TENANT, DEVICE, action_id, status, "", result)


def store(api: Api, action_id: str, index: int, content: bytes) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield content

    digest = hashlib.sha256(content).hexdigest()
    anyio.run(api.services.packages.receive, action_id, parts(), digest, index)


def test_an_upload_answers_200_with_the_library_file(api: Api) -> None:
    answer = upload(
        api, Description="looks around", HasParameters="true", ParametersDescription="-v", OverrideIfExists=""
    )
    assert answer.status_code == 200, "not 201"
    body = answer.json()
    assert list(body) == ["@odata.context", *LIBRARY_KEYS.split()]
    assert body["@odata.context"] == f"{URL}/api/$metadata#LibraryFiles/$entity"
    assert body["sha256"] == hashlib.sha256(SCRIPT).hexdigest()
    assert (body["description"], body["hasParameters"], body["parametersDescription"]) == (
        "looks around",
        True,
        "-v",
    )
    listed = api.get("/api/libraryfiles?$filter=fileName eq 'LOOK.sh'")
    assert listed["@odata.context"] == f"{URL}/api/$metadata#LibraryFiles"
    assert [{"@odata.context": body["@odata.context"], **item} for item in listed["value"]] == [body]
    assert api.get("/api/libraryfiles", tenant=OTHER_TENANT)["value"] == []


def test_a_file_is_replaced_only_on_request(api: Api) -> None:
    upload(api)
    again = upload(api, name="Look.sh", content=b"new")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "BadRequest")
    body = upload(api, name="Look.sh", content=b"new", overrideifexists="True").json()
    assert (body["fileName"], body["sha256"]) == ("Look.sh", hashlib.sha256(b"new").hexdigest())
    assert len(api.get("/api/libraryfiles")["value"]) == 1


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".hidden", "a b", "a\\b", "", "x" * 256, "naïve", "a;b", "a'b"]
)
def test_hostile_names_are_refused(api: Api, name: str, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db-wal"}
    assert upload(api, name=name).status_code == 400
    after = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db-wal"}
    assert {path for path in after - before if "state.db" not in path.name} == set()
    assert api.get("/api/libraryfiles")["value"] == []


def test_what_is_no_form_with_a_file_is_refused(api: Api) -> None:
    path = "/api/libraryfiles"
    assert api.error("POST", path, json={"file": "x"}) == (400, "BadRequest")
    assert api.error("POST", path, data={"Description": "x"}) == (400, "BadRequest")
    broken = {"Content-Type": "multipart/form-data"}
    assert api.error("POST", path, content=b"--x\r\n\r\n", headers=broken) == (400, "BadRequest")
    assert upload(api, content=b"").status_code == 400
    assert upload(api, HasParameters="perhaps").status_code == 400
    large = api.error("POST", path, files={"file": ("big", bytes((20 << 20) + (1 << 17)))})
    assert large == (413, "RequestEntityTooLarge")


def test_a_file_is_deleted_by_its_name(api: Api) -> None:
    upload(api)
    answer = api.call("DELETE", "/api/libraryfiles/LOOK.sh")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert api.error("DELETE", "/api/libraryfiles/look.sh") == (404, "ResourceNotFound")


def test_the_library_needs_its_own_permission(api: Api) -> None:
    roles = ("Machine.LiveResponse", "Machine.ReadWrite.All")
    assert api.error("GET", "/api/libraryfiles", roles=roles) == (403, "Forbidden")
    assert api.error("DELETE", "/api/libraryfiles/x", roles=roles) == (403, "Forbidden")
    assert api.error("POST", "/api/libraryfiles", roles=roles, content=b"x") == (403, "Forbidden")


def test_live_response_answers_201_with_created_commands(api: Api) -> None:
    upload(api)
    args = {"key": "args", "value": "--noargs"}
    answer = run(api, PUT, {"type": "runscript", "params": [*RUN["params"], args]}, GET)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["type"], body["status"]) == ("LiveResponse", "Pending")
    assert body["commands"][1] == {
        "index": 1,
        "startTime": None,
        "endTime": None,
        "commandStatus": "Created",
        "errors": [],
        "command": {"type": "RunScript", "params": [*RUN["params"], {"key": "Args", "value": "--noargs"}]},
    }
    with api.services.database.read(TENANT) as session:
        told = session.get(MachineAction, body["id"]).parameters["commands"]
        kept = session.scalars(select(AuditEntry).where(AuditEntry.target == body["id"])).one()
    assert told[1] == {
        "type": "RunScript",
        "file": {"name": "look.sh", "sha256": hashlib.sha256(SCRIPT).hexdigest(), "size": len(SCRIPT)},
        "args": "--noargs",
        "seconds": 600,
    }
    assert told[2] == {"type": "GetFile", "path": "/var/log/some log.txt"}
    assert kept.detail["commands"][1]["params"][1]["value"] == "--noargs", "the audit tells what was run"


def test_one_session_at_a_time_on_a_device(api: Api) -> None:
    assert run(api, GET).status_code == 201
    assert refused(api, GET) == (400, "ActiveRequestAlreadyExists")
    assert run(api, GET, machine=SECOND).status_code == 201


def test_a_tenant_has_25_sessions(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        seen = session.get(Device, SECOND)
        for number in range(24):
            session.add(
                Device(
                    id=f"{number:040x}",
                    computer_dns_name=f"d{number}",
                    first_seen=seen.first_seen,
                    last_seen=seen.last_seen,
                    last_contact=seen.last_contact,
                    public_key="k",
                )
            )
    for machine in [SECOND, *(f"{number:040x}" for number in range(24))]:
        assert run(api, GET, machine=machine).status_code == 201
    answer = run(api, GET)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "TooManyRequests")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"type": "Format", "params": []}, (400, "InvalidInput")),
        ({"type": "GetFile", "params": []}, (400, "MissingRequiredParameter")),
        ({"type": "GetFile", "params": [{"key": "Path", "value": 5}]}, (400, "InvalidInput")),
        ({"type": "GetFile", "params": [{"key": "Path", "value": "/a\nb"}]}, (400, "InvalidInput")),
        ({"type": "GetFile", "params": [{"key": "Path", "value": "x" * 4001}]}, (400, "InvalidInput")),
        ({"type": "GetFile", "params": [{"key": "FileName", "value": "x"}]}, (400, "InvalidInput")),
        ({"type": "GetFile"}, (400, "InvalidInput")),
        (RUN, (404, "ResourceNotFound")),
        ("GetFile", (400, "InvalidRequestBody")),
    ],
)
def test_malformed_commands_are_refused(api: Api, command: object, expected: tuple[int, str]) -> None:
    assert refused(api, command) == expected
    assert api.get("/api/machineactions")["value"] == []


def test_commands_must_be_there_and_few(api: Api) -> None:
    path = f"/api/machines/{DEVICE}/runliveresponse"
    assert api.error("POST", path, json={"Comment": "x"}) == (400, "MissingRequiredParameter")
    assert api.error("POST", path, json={"Commands": []}) == (400, "InvalidRequestBody")
    assert api.error("POST", path, json={"Commands": "x"}) == (400, "InvalidRequestBody")
    assert refused(api, *[GET] * 51) == (400, "InvalidInput")
    unknown = api.error(
        "POST", "/api/machines/elastic-connector-test/runliveresponse", json={"Commands": [GET]}
    )
    assert unknown == (404, "ResourceNotFound")


def test_live_response_can_be_switched_off(api: Api) -> None:
    api.services.settings = Settings(data=api.services.settings.data, live_response=False)
    assert refused(api, GET) == (403, "DisabledFeature")


def test_live_response_needs_its_permission(api: Api) -> None:
    path = f"/api/machines/{DEVICE}/runliveresponse"
    roles = ("Machine.ReadWrite.All", "Machine.Scan")
    assert api.error("POST", path, roles=roles, json={"Commands": [GET]}) == (403, "Forbidden")


def test_results_are_fetched_by_links_without_a_token(api: Api) -> None:
    upload(api)
    action = run(api, RUN, GET, PUT).json()
    place = f"/api/machineactions/{action['id']}/GetLiveResponseResultDownloadLink(index="
    assert api.error("GET", f"{place}0)") == (404, "ResourceNotFound"), "nothing came yet"
    report(api, action["id"], "InProgress")
    transcript = b'{"script_name":"look.sh","exit_code":0,"script_output":"hello\\n","script_errors":""}'
    store(api, action["id"], 0, transcript)
    store(api, action["id"], 1, gzip.compress(b"a log"))
    told = [
        {"index": index, "status": "Completed", "started": "2026-01-01T00:00:00Z",
         "ended": "2026-01-01T00:00:01.5Z"}
        for index in range(3)
    ]  # fmt: skip
    report(api, action["id"], "Succeeded", commands=told)
    commands = api.get(f"/api/machineactions/{action['id']}")["commands"]
    assert [command["commandStatus"] for command in commands] == ["Completed"] * 3
    assert commands[0]["endTime"] == "2026-01-01T00:00:01.5Z"
    body = api.get(f"{place}0)")
    assert body["@odata.context"] == f"{URL}/api/$metadata#Edm.String"
    script = api.http.request("GET", body["value"])
    assert (script.status_code, script.content) == (200, transcript)
    link = api.get(f"{place}1)".replace("GetLive", "getlive"))["value"]
    log = api.http.request("GET", link)
    assert log.content[:2] == b"\x1f\x8b", "gzip, and not unpacked on the way"
    assert "some%20log.txt.gz" in log.headers["content-disposition"]
    assert api.error("GET", f"{place}2)") == (404, "ResourceNotFound"), "PutFile has no result"
    for index in ("x", "-1", "99", "9" * 40, "'0'"):
        assert api.error("GET", f"{place}{index})")[0] in (400, 404), index
    for wrong in (
        link.replace("sig=", "sig=0"),
        link.replace("/LiveResponse/1", "/LiveResponse/0"),
        link.replace("/LiveResponse/1", "/InvestigationPackage.zip"),
        link.replace("/LiveResponse/1", "/LiveResponse/x"),
        link.split("?")[0],
    ):
        assert api.http.request("GET", wrong).status_code == 403, wrong


def test_a_failed_command_ends_the_session(api: Api) -> None:
    action = run(api, GET, GET).json()
    report(api, action["id"], "InProgress")
    told = [{"index": 0, "status": "Failed", "error": "no such file"}]
    api.services.actions.record_status(
        TENANT, DEVICE, action["id"], "Failed", "command 0 failed", {"commands": told}
    )
    body = api.get(f"/api/machineactions/{action['id']}")
    assert body["status"] == "Failed"
    assert [item["commandStatus"] for item in body["commands"]] == ["Failed", "Created"]
    assert body["commands"][0]["errors"] == ["no such file"]


def test_what_an_agent_tells_of_commands_is_not_believed_blindly(api: Api) -> None:
    action = run(api, GET).json()
    told = [
        {"index": 7, "status": "Completed"},
        {"index": 0, "status": "Elsewhere", "started": "soon", "error": "x" * 10_000},
        "text",
    ]
    report(api, action["id"], "InProgress", commands=told)
    (command,) = api.get(f"/api/machineactions/{action['id']}")["commands"]
    assert (command["commandStatus"], command["startTime"]) == ("Created", None)
    assert len(command["errors"][0]) <= 4000


def test_a_result_of_another_kind_of_action_is_invalid_input(api: Api) -> None:
    action = api.call("POST", f"/api/machines/{DEVICE}/isolate", json={"Comment": "x"}).json()
    place = f"/api/machineactions/{action['id']}/GetLiveResponseResultDownloadLink(index=0)"
    assert api.error("GET", place) == (400, "InvalidInput")
    missing = f"/api/machineactions/{uuid4()}/GetLiveResponseResultDownloadLink(index=0)"
    assert api.error("GET", missing) == (404, "ResourceNotFound")


def test_a_session_is_cancelled_with_its_own_permission(api: Api) -> None:
    action = run(api, GET).json()
    path = f"/api/machineactions/{action['id']}/cancel"
    assert api.error("POST", path, roles=("Machine.Isolate",)) == (403, "Forbidden")
    body = api.call("POST", path, roles=("Machine.LiveResponse",), json={"Comment": "no"}).json()
    assert body["status"] == "Cancelled"


def test_nothing_is_asked_of_an_offboarded_device(api: Api) -> None:
    with api.services.database.session(TENANT) as session:
        session.execute(update(Device).where(Device.id == DEVICE).values(revoked=True))
    assert refused(api, GET) == (400, "InvalidInput")
