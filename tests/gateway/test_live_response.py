"""A device's way to the files of a live response, and of its results back; other devices have none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from uuid import uuid4

import httpx

from tests.e2e.conftest import Running

from .conftest import Agent

SCRIPT = b"#!/bin/sh\ntrue\n"
DIGEST = hashlib.sha256(SCRIPT).hexdigest()


def start(server: Running, agent: Agent) -> str:
    form = {"OverrideIfExists": "true"}
    uploaded = server.http.post("/api/libraryfiles", files={"file": ("run.sh", SCRIPT)}, data=form)
    assert uploaded.status_code == 200, uploaded.text
    command = {"type": "RunScript", "params": [{"key": "ScriptName", "value": "run.sh"}]}
    made = server.post(f"/api/machines/{agent.device_id}/runliveresponse", {"Commands": [command]})
    return str(made["id"])


def put(agent: Agent, action: str, content: bytes, index: str = "0", said: bytes = b"") -> httpx.Response:
    """Upload a result; ``said`` is what the headers speak of instead."""
    headers = {"X-Shieldwall-SHA256": hashlib.sha256(said or content).hexdigest()}
    target = f"/agent/v1/actions/{action}/results/{index}"
    return agent.request("PUT", target, content, headers=headers, signed_body=said or content)


def test_a_message_names_files_by_hash_and_the_device_fetches_them(server: Running, agent: Agent) -> None:
    action = start(server, agent)
    (message,) = [item for item in agent.poll(wait=5) if item["type"] == "live_response"]
    assert message["id"] == action
    assert message["body"]["commands"][0]["file"]["sha256"] == DIGEST
    answer = agent.request("GET", f"/agent/v1/actions/{action}/files/{DIGEST}")
    assert (answer.status_code, answer.content) == (200, SCRIPT)
    for other in (hashlib.sha256(b"other").hexdigest(), "x", "..%2f..%2fstate.db"):
        refused = agent.request("GET", f"/agent/v1/actions/{action}/files/{other}")
        assert refused.status_code == 404, other
    assert agent.request("GET", f"/agent/v1/actions/{uuid4()}/files/{DIGEST}").status_code == 404


def test_another_device_gets_and_gives_nothing(
    server: Running, agent: Agent, token: str, tmp_path: Path
) -> None:
    action = start(server, agent)
    stranger = Agent(server, tmp_path, "stranger")
    assert stranger.enrol(token).status_code == 200
    assert stranger.request("GET", f"/agent/v1/actions/{action}/files/{DIGEST}").status_code == 404
    assert put(stranger, action, b"{}").status_code == 404
    assert put(agent, action, b"{}").status_code == 204


def test_results_are_taken_for_commands_that_there_are_while_the_action_is_open(
    server: Running, agent: Agent
) -> None:
    action = start(server, agent)
    assert put(agent, action, b"{}", "1").status_code == 404
    assert put(agent, action, b"{}", "-1").status_code == 404
    assert put(agent, action, b"{}", said=b"other").status_code == 400
    package = agent.request(
        "PUT",
        f"/agent/v1/actions/{action}/package",
        b"x",
        headers={"X-Shieldwall-SHA256": hashlib.sha256(b"x").hexdigest()},
    )
    assert package.status_code == 404, "a live response has no package"
    assert put(agent, action, b"{}").status_code == 204
    told = {"commands": [{"index": 0, "status": "Completed"}]}
    body = json.dumps({"status": "Succeeded", "result": told}).encode()
    assert agent.request("POST", f"/agent/v1/actions/{action}", body).status_code == 204
    assert put(agent, action, b"{}").status_code == 409
    assert agent.request("GET", f"/agent/v1/actions/{action}/files/{DIGEST}").status_code == 404


def test_an_offboarded_device_is_refused(server: Running, agent: Agent, token: str) -> None:
    made = server.post(f"/api/machines/{agent.device_id}/offboard", {"Comment": "sold"})
    body = json.dumps({"status": "Succeeded", "result": {}}).encode()
    assert agent.request("POST", f"/agent/v1/actions/{made['id']}", body).status_code == 204
    refused = agent.request("GET", "/agent/v1/messages?wait=0")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "DeviceRevoked")
    assert agent.send(1, {"Table": "DeviceEvents"}).status_code == 403
    assert agent.enrol(token).status_code == 403, "its key opens nothing any more"
