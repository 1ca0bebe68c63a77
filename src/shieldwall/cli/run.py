"""`shieldwall run`: a server and an agent on this machine, ready to call. `shieldwall serve`: the server."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console

from shieldwall import log
from shieldwall.cli import quickstart
from shieldwall.cli.namespace import Namespace, namespace_of, trial_namespace
from shieldwall.devices.enrolment import create_token
from shieldwall.identity.tls import ca_path
from shieldwall.server import uvicorn_server
from shieldwall.services import Services
from shieldwall.settings import Settings

START_SECONDS = 60
STOP_SECONDS = 20

console = Console(highlight=False, soft_wrap=True)


def run(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of everything the server keeps.")] = None,
    agent: Annotated[bool, typer.Option(help="Also enrol and run an agent on this machine.")] = True,
) -> None:
    """Start a server on this machine, with an agent that watches it, and say how to call it.

    Example: SHIELDWALL_DATA=/tmp/shieldwall shieldwall run --port 9443
    """
    settings = _settings(host, port, data)
    log_file = settings.data / "log" / "server.log"
    with (
        _only_one(settings),
        _serving(settings, log_file) as services,
        trial_namespace(settings.port) as namespace,
    ):
        ready = quickstart.prepare(settings, services.database, ca_path(settings))
        watcher = _start_agent(settings, services, ready) if agent else None
        _announce(ready, log_file, settings, watcher, namespace)
        try:
            _wait_for_stop(watcher)
        finally:
            console.print("Stopping ...")
            if watcher:
                _stop(watcher)
    console.print("Stopped.")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of everything the server keeps.")] = None,
) -> None:
    """Run the server alone, logging to standard error; for systemd and containers.

    Example: SHIELDWALL_PUBLIC_URL=https://edr.example.org shieldwall serve --host 0.0.0.0
    """
    settings = _settings(host, port, data)
    with _only_one(settings), _serving(settings, None):
        _wait_for_stop(None)


def _settings(host: str, port: int, data: Path | None) -> Settings:
    try:
        settings = Settings.load()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    changes: dict[str, object] = {"data": (data or settings.data).absolute()}
    if host:
        changes["host"] = host
    if port:
        changes["port"] = port
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Hold the data folder: two servers on one folder would corrupt it."""
    with (settings.data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            console.print(f"Another server is running on {settings.data}.")
            raise typer.Exit(1) from None
        yield


@contextmanager
def _serving(settings: Settings, log_file: Path | None) -> Iterator[Services]:
    """A server in a thread of its own, so that this thread keeps the signals and the order of stopping."""
    log.configure(settings.log_level, settings.log_json, log_file)
    services = Services.build(settings)
    server = uvicorn_server(services)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        _wait_until_started(server, thread, log_file)
        yield services
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            server.force_exit = True
            thread.join(STOP_SECONDS)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread, log_file: Path | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            console.print(f"The server did not start; see {log_file or 'the log above'}.")
            raise typer.Exit(1)
        time.sleep(0.05)


def _start_agent(
    settings: Settings, services: Services, ready: quickstart.Quickstart
) -> subprocess.Popen[bytes] | None:
    """Start an agent whose folder lies in the server's; the first time, enrol it."""
    state = settings.data / "agent"
    # Isolation is shown on a namespace of its own: on the machine itself it would cut off whoever sits at it.
    isolates = namespace_of(settings.port).name
    trial = settings.data / "trial"
    trial.mkdir(exist_ok=True)
    # What a trial does to the device, it does in a namespace and a folder of its own.
    command = [sys.executable, "-m", "shieldwall_agent", "--state", str(state), "--isolate-netns", isolates]
    command += ["--only-under", str(trial)]
    if not (state / "identity.json").exists():
        token = create_token(services.database, ready.tenant_id, uses=1, hours=1)
        enrolled = subprocess.run(
            [*command, "enrol", "--server", settings.url, "--ca", ready.ca],
            input=token.encode(),
            capture_output=True,
            check=False,
        )
        if enrolled.returncode:
            console.print(f"The agent could not enrol: {enrolled.stderr.decode(errors='replace').strip()}")
            return None
    agent_log = (settings.data / "log" / "agent.log").open("ab")
    return subprocess.Popen(
        [*command, "run", "--ephemeral"], stdout=agent_log, stderr=agent_log, start_new_session=True
    )


def _announce(
    ready: quickstart.Quickstart,
    log_file: Path,
    settings: Settings,
    watcher: subprocess.Popen[bytes] | None,
    namespace: Namespace | None,
) -> None:
    token = (
        f"curl -s --cacert {ready.ca} {ready.url}/{ready.tenant_id}/oauth2/v2.0/token"
        f" -d grant_type=client_credentials -d client_id={ready.client_id}"
        f" -d client_secret={ready.client_secret}"
        " -d scope=https://api.securitycenter.microsoft.com/.default"
    )
    devices = (
        f"curl -s --cacert {ready.ca} {ready.url}/api/machines"
        f' -H "Authorization: Bearer $({token} | sed \'s/.*"access_token":"\\([^"]*\\)".*/\\1/\')"'
    )
    console.print(f"\n[bold]Shieldwall[/bold] serves on [bold]{ready.url}[/bold]")
    console.print(f"  API documentation  {ready.url}/docs")
    console.print(f"  tenant             {ready.tenant_id}")
    console.print(f"  client id          {ready.client_id}")
    console.print(f"  client secret      {ready.client_secret}")
    console.print(f"  CA certificate     {ready.ca}")
    console.print(f"  data, log          {settings.data}, {log_file}")
    console.print(f"  agent              {_agent_state(settings, watcher)}")
    if namespace:
        console.print(
            f"  isolation          cuts off the network namespace {namespace.name}, not this machine"
        )
    console.print("\nList the devices:\n")
    console.print(f"  {devices}\n", markup=False)
    console.print("See it work:  .venv/bin/shieldwall demo      Stop:  Ctrl-C\n", markup=False)
    console.file.flush()


def _agent_state(settings: Settings, watcher: subprocess.Popen[bytes] | None) -> str:
    """Which sensors run, as the agent itself says a moment after its start."""
    if watcher is None:
        return "not running"
    command = [sys.executable, "-m", "shieldwall_agent", "--state", str(settings.data / "agent"), "status"]
    deadline = time.monotonic() + 15
    lines = ""
    while time.monotonic() < deadline and watcher.poll() is None:
        asked = subprocess.run([*command, "--brief"], capture_output=True, check=False, timeout=15)
        lines = asked.stdout.decode(errors="replace").strip()
        if asked.returncode == 0 and lines:
            break
        time.sleep(0.5)
    if watcher.poll() is not None:
        return f"stopped at once; see {settings.data / 'log' / 'agent.log'}"
    user = "" if os.geteuid() == 0 else " (not root: without kernel sensors and blocking)"
    return f"{lines or 'starting'}{user}"


def _wait_for_stop(watcher: subprocess.Popen[bytes] | None) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    said = False
    while not stop.wait(1):
        if watcher and watcher.poll() is not None and not said:
            console.print("The agent has stopped; the server goes on.")
            said = True


def _stop(watcher: subprocess.Popen[bytes]) -> None:
    watcher.terminate()
    try:
        watcher.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        watcher.kill()
        watcher.wait()
