"""Indicators and actions on their way to a device, and results on their way back."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.e2e.conftest import Running, trusting

from .conftest import Agent


def up_to_date(agent: Agent) -> int:
    """The newest revision, once the agent has taken all there is."""
    revision = 0
    while messages := [item for item in agent.poll(revision) if item["type"] == "indicators"]:
        revision = messages[-1]["body"]["to"]
    return revision


def post_indicator(server: Running, value: str, **more: Any) -> dict[str, Any]:
    body = {
        "indicatorType": "DomainName",
        "indicatorValue": value,
        "action": "Block",
        "title": "t",
        "description": "d",
    }
    return server.post("/api/indicators", body | more)


def test_a_waiting_agent_learns_of_an_indicator_at_once(server: Running, agent: Agent) -> None:
    revision = up_to_date(agent)
    times: list[float] = []
    told: list[dict[str, Any]] = []

    def wait() -> None:
        told.extend(agent.poll(revision, wait=20))
        times.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(1)
    began = time.monotonic()
    made = post_indicator(server, "evil.example")
    waiting.join(10)
    assert times, "the poll did not end"
    assert times[0] - began < 1
    (entry,) = told[0]["body"]["upsert"]
    assert (entry["type"], entry["value"], entry["action"]) == ("DomainName", "evil.example", "Block")
    after = told[0]["body"]["to"]
    assert server.http.delete(f"/api/indicators/{made['id']}").status_code == 204
    (message,) = agent.poll(after, wait=5)
    assert message["body"]["delete"] == [made["id"]]


def test_an_indicator_that_expires_is_taken_off(server: Running, agent: Agent) -> None:
    from datetime import timedelta

    from shieldwall.times import now, to_text

    revision = up_to_date(agent)
    made = post_indicator(server, "brief.example", expirationTime=to_text(now() + timedelta(seconds=2)))
    revision = agent.poll(revision, wait=5)[0]["body"]["to"]
    (message,) = agent.poll(revision, wait=10)
    assert message["body"]["delete"] == [made["id"]]
    assert server.http.get(f"/api/indicators/{made['id']}").status_code == 404


def action(server: Running, agent: Agent, name: str, **body: Any) -> dict[str, Any]:
    return server.post(f"/api/machines/{agent.device_id}/{name}", {"Comment": "test", **body})


def report(agent: Agent, identifier: str, status: str, **more: Any) -> httpx.Response:
    body = json.dumps({"status": status, **more}).encode()
    return agent.request("POST", f"/agent/v1/actions/{identifier}", body)


def test_isolation_goes_there_and_back(server: Running, agent: Agent) -> None:
    made = action(server, agent, "isolate", IsolationType="Full")
    assert (made["status"], made["type"]) == ("Pending", "Isolate")
    (message,) = [item for item in agent.poll(wait=5) if item["type"] == "isolate"]
    assert (message["id"], message["body"]["scope"]) == (made["id"], "Full")
    second = server.http.post(f"/api/machines/{agent.device_id}/isolate", json={"Comment": "x"})
    assert second.status_code == 400
    assert '"message":"Action is already in progress"' in second.text
    assert report(agent, made["id"], "InProgress").status_code == 204
    assert report(agent, made["id"], "Succeeded").status_code == 204
    assert server.get(f"/api/machineactions/{made['id']}")["status"] == "Succeeded"
    assert report(agent, made["id"], "Failed", error="late").status_code == 204
    assert server.get(f"/api/machineactions/{made['id']}")["status"] == "Succeeded", "final is final"
    # A device that says that it is not isolated is put right.
    messages = agent.poll(up_to_date(agent), wait=6, isolated=0)
    (correction,) = [item for item in messages if item["type"] != "indicators"]
    assert correction["type"] == "isolate"
    # Its results are taken like any others, and change nothing.
    assert report(agent, correction["id"], "InProgress").status_code == 204
    assert report(agent, correction["id"], "Failed", error="no nft").status_code == 204
    assert report(agent, correction["id"], "Succeeded", result={"isolated": True}).status_code == 204
    assert server.get(f"/api/machineactions/{made['id']}")["status"] == "Succeeded"
    assert server.http.get(f"/api/machineactions/{correction['id']}").status_code == 404
    assert report(agent, str(uuid4()), "Succeeded").status_code == 404, "of an action that never was"


def test_another_device_cannot_report_or_upload(
    server: Running, agent: Agent, token: str, tmp_path: Path
) -> None:
    made = action(server, agent, "collectInvestigationPackage")
    other = Agent(server, tmp_path, "other")
    other.enrol(token)
    assert report(other, made["id"], "Succeeded").status_code == 404
    headers = {"X-Shieldwall-SHA256": hashlib.sha256(b"zip").hexdigest()}
    target = f"/agent/v1/actions/{made['id']}/package"
    assert other.request("PUT", target, b"zip", headers=headers).status_code == 404
    assert server.get(f"/api/machineactions/{made['id']}")["status"] == "Pending"


def test_a_package_comes_back_whole_or_not_at_all(server: Running, agent: Agent) -> None:
    made = action(server, agent, "collectInvestigationPackage")
    link = f"/api/machineactions/{made['id']}/getPackageUri"
    assert server.http.get(link).status_code == 404
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("processes.txt", "init\n" * 1000)
    content = buffer.getvalue()
    target = f"/agent/v1/actions/{made['id']}/package"
    digest = hashlib.sha256(content).hexdigest()
    wrong = agent.request(
        "PUT", target, content[:-1], headers={"X-Shieldwall-SHA256": digest}, signed_body=content
    )
    assert wrong.status_code == 400
    stored = agent.request("PUT", target, content, headers={"X-Shieldwall-SHA256": digest})
    assert stored.status_code == 204
    report(agent, made["id"], "Succeeded")
    uri = server.get(link)["value"].strip('"')
    with httpx.Client(verify=trusting(server.quickstart["ca"])) as anybody:
        fetched = anybody.get(uri)
        assert (fetched.status_code, fetched.content) == (200, content)
        assert anybody.get(uri.replace("sig=", "sig=0")).status_code == 403
        assert anybody.get(uri.replace(made["id"], "..%2F..%2Fstate.db")).status_code in (403, 404)


def test_a_cancelled_action_is_taken_back(server: Running, agent: Agent) -> None:
    made = action(server, agent, "StopAndQuarantineFile", Sha1="a" * 40)
    cancelled = server.post(f"/api/machineactions/{made['id']}/cancel", {"Comment": "mistake"})
    assert cancelled["status"] == "Cancelled"
    assert cancelled["cancellationComment"] == "mistake"
    types = {item["type"]: item["body"] for item in agent.poll(wait=2)}
    assert types["cancel"] == {"action_id": made["id"]}
    assert "stop_and_quarantine" not in types
    report(agent, made["id"], "Succeeded")
    assert server.get(f"/api/machineactions/{made['id']}")["status"] == "Cancelled"


def test_a_report_is_shown_as_the_machine(server: Running, agent: Agent) -> None:
    report_body = {
        "dns_name": "renamed.example",
        "ip_addresses": [
            {"ipAddress": "192.0.2.7", "macAddress": "02AA", "type": "Ethernet", "operationalStatus": "Up"}
        ],
        "sensors": {"processes": {"mechanism": "eBPF", "events": 1, "lost": 0, "detail": ""}},
    }
    answer = agent.request("POST", "/agent/v1/report", json.dumps(report_body).encode())
    assert answer.status_code == 204, answer.text
    machine = server.get(f"/api/machines/{agent.device_id}")
    assert (machine["computerDnsName"], machine["lastIpAddress"]) == ("renamed.example", "192.0.2.7")
    hostile = {"ip_addresses": [{"ipAddress": "x" * 5000}]}
    refused = agent.request("POST", "/agent/v1/report", json.dumps(hostile).encode())
    assert refused.json()["error"]["code"] == "InvalidRequestBody"


def test_packages_of_a_report_are_the_devices_software(server: Running, agent: Agent) -> None:
    def tell(**body: Any) -> httpx.Response:
        return agent.request("POST", "/agent/v1/report", json.dumps(body).encode())

    def known() -> list[tuple[str, str]]:
        path = "/api/machines/SoftwareInventoryNoProductCodeByMachine?pageSize=100"
        rows = [row for row in server.get(path)["value"] if row["deviceId"] == agent.device_id]
        return [(row["softwareName"], row["softwareVersion"]) for row in rows]

    packages = [["Bash", "5.2", "amd64"], ["libc6", "2.36", "amd64"], ["libc6", "2.36", "i386"]]
    assert tell(os_distribution="debian", software=packages).status_code == 204
    assert known() == [("bash", "5.2"), ("libc6", "2.36")]
    assert server.get("/api/Software/debian-_-libc6")["installedMachines"] == 1
    assert tell(isolated=False).status_code == 204
    assert len(known()) == 2, "a report without packages changes none"
    assert tell(software=[["libc6", "2.37", "amd64"]]).status_code == 204
    assert known() == [("libc6", "2.37")]
    assert tell(software=[]).status_code == 204
    assert known() == []
    for wrong in (
        "x",
        [["a", "b"]],
        [["", "1", "x"]],
        [["a", 1, "x"]],
        [["a" * 201, "1", "x"]],
        [["a", "1", "x"]] * 5001,
    ):
        refused = tell(software=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "InvalidRequestBody")
