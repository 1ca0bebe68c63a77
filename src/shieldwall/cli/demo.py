"""`shieldwall demo`: a harmless attack played for real on this machine, and what Shieldwall made of it."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from shieldwall.cli.client import LocalClient
from shieldwall.cli.incident import show_incident
from shieldwall.cli.namespace import namespace_of
from shieldwall.settings import Settings
from shieldwall.times import now, to_text

ATTACK = Path(__file__).with_name("demo_attack.sh")
ENFORCED_SECONDS = 3.0
EXPECTED_TITLES = {"Demo payload", "Demo implant", "Demo command server"}

console = Console(highlight=False, soft_wrap=True)


def demo(
    keep: Annotated[bool, typer.Option(help="Leave the demo's indicators in place afterwards.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to wait for the alerts.")] = 45,
) -> None:
    """Play a short, harmless attack on this machine and show the incident that comes of it.

    Needs `shieldwall run` in another terminal.  Example: shieldwall demo --keep
    """
    client = LocalClient(Settings.load())
    device = _this_device(client)
    with _scratch() as scratch, _listener() as (address, port):
        hashes = _stage(scratch)
        indicators = _post_indicators(client, hashes, address)
        try:
            time.sleep(ENFORCED_SECONDS)
            started = now() - timedelta(seconds=1)
            _play(scratch, address, port)
            alerts = _await_alerts(client, device["id"], started, seconds)
            if not alerts:
                console.print("No alert came. Is the agent running? `shieldwall-agent status` tells.")
                raise typer.Exit(1)
            actions = _respond(client, device["id"], hashes["implant"][0])
            actions += _isolate(client, device["id"])
            for number in sorted({alert["incidentId"] for alert in alerts}):
                show_incident(client, number, console, actions)
        finally:
            if not keep:
                for number in indicators:
                    client.delete(f"/api/indicators/{number}")
    console.print("Everything the demo made on this machine is removed; the alerts stay for you to look at.")


def _this_device(client: LocalClient) -> dict[str, Any]:
    name = socket.gethostname().lower()
    devices = client.get("/api/machines")["value"]
    active = [device for device in devices if device["healthStatus"] == "Active"] or devices
    for device in active:
        if str(device["computerDnsName"]).lower().split(".")[0] == name.split(".")[0]:
            return dict(device)
    raise typer.BadParameter("this machine has no enrolled agent")


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="shieldwall-demo-"))
    try:
        yield folder
    finally:
        subprocess.run(["pkill", "-f", f"^{folder}/|^bin/implant 120$"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _listener() -> Iterator[tuple[str, int]]:
    """The attacker's server: a loopback address that nobody else uses."""
    with socket.socket() as server:
        server.bind((f"127.{secrets.randbelow(200) + 20}.66.6", 0))
        server.listen(8)
        yield server.getsockname()


def _stage(scratch: Path) -> dict[str, tuple[str, str]]:
    """Two working programs with a random mark at their end: SHA-1 and SHA-256 of each by name."""
    (scratch / "stage").mkdir()
    hashes = {}
    for name, source in (("payload", "/bin/true"), ("implant", "/bin/sleep")):
        content = Path(source).read_bytes() + b"shieldwall demo " + secrets.token_bytes(16)
        (scratch / "stage" / name).write_bytes(content)
        hashes[name] = (
            hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            hashlib.sha256(content).hexdigest(),
        )
    return hashes


def _post_indicators(client: LocalClient, hashes: dict[str, tuple[str, str]], address: str) -> list[str]:
    expires = to_text(now() + timedelta(hours=1))
    wanted = [
        ("FileSha256", hashes["payload"][1], "Block", "High", "Demo payload"),
        ("FileSha256", hashes["implant"][1], "Audit", "Medium", "Demo implant"),
        ("IpAddress", address, "Audit", "Medium", "Demo command server"),
    ]
    made = []
    for kind, value, action, severity, title in wanted:
        body = {
            "indicatorType": kind,
            "indicatorValue": value,
            "action": action,
            "severity": severity,
            "title": title,
            "description": "Made by shieldwall demo",
            "generateAlert": True,
            "expirationTime": expires,
        }
        made.append(str(client.post("/api/indicators", body)["id"]))
        console.print(f"  indicator  {action:5}  {kind:10}  {value}", markup=False)
    return made


def _play(scratch: Path, address: str, port: int) -> None:
    console.print("\n[bold]The attack[/bold]")
    script = scratch / "attack.sh"
    shutil.copy(ATTACK, script)
    attack = subprocess.Popen(
        ["/bin/bash", str(script), str(scratch), address, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    assert attack.stdout is not None
    for line in attack.stdout:
        console.print(f"  {line.rstrip()}", markup=False)
        if line.startswith("cron entry"):
            break


def _await_alerts(client: LocalClient, device_id: str, since: Any, seconds: float) -> list[dict[str, Any]]:
    """The demo's alerts on this device, once the three expected ones are there or the time is over."""
    query = f"machineId eq '{device_id}' and lastUpdateTime ge {to_text(since)}"
    deadline = time.monotonic() + seconds
    alerts: list[dict[str, Any]] = []
    with console.status("Waiting for the alerts"):
        while time.monotonic() < deadline:
            alerts = client.get("/api/alerts", **{"$filter": query})["value"]
            if {title for title in EXPECTED_TITLES for alert in alerts if title in alert["title"]} == (
                EXPECTED_TITLES
            ):
                break
            time.sleep(0.5)
    return alerts


def _respond(client: LocalClient, device_id: str, sha1: str) -> list[dict[str, Any]]:
    """What an analyst would do next: stop and quarantine the implant, which still runs."""
    body = {"Comment": "shieldwall demo", "Sha1": sha1}
    action = client.post(f"/api/machines/{device_id}/StopAndQuarantineFile", body)
    with console.status("Stopping and quarantining the implant"):
        action = client.wait_for_action(action)
    return [action]


def _isolate(client: LocalClient, device_id: str) -> list[dict[str, Any]]:
    """Cut the device off and let it back. Here that is a network namespace, which stands for the device."""
    namespace = namespace_of(client.port)
    if not namespace.run("true"):
        return []
    actions = []
    with socket.socket() as other:
        other.bind((namespace.host, 0))
        other.listen(8)
        reach = f"exec 3<>/dev/tcp/{namespace.host}/{other.getsockname()[1]}"

        def reaches() -> str:
            return "reached" if namespace.run("timeout", "2", "bash", "-c", reach) else "cut off"

        console.print(f"\n[bold]Isolation[/bold] of the network namespace {namespace.name}")
        console.print(f"  before    another host is {reaches()}")
        for name, said in (("isolate", "isolated"), ("unisolate", "released")):
            action = client.post(f"/api/machines/{device_id}/{name}", {"Comment": "shieldwall demo"})
            actions.append(client.wait_for_action(action))
            console.print(f"  {said:8}  another host is {reaches()}")
    return actions
