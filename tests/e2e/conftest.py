"""A whole Shieldwall as a user starts it: `shieldwall run` with its own data, port and agent."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

START_SECONDS = 90
STOP_SECONDS = 45


@dataclass
class Running:
    """A server (and agent) that `shieldwall run` started, and a client with its token."""

    process: subprocess.Popen[str]
    output: list[str]
    environment: dict[str, str]
    quickstart: dict[str, str]
    http: httpx.Client

    def command(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a `shieldwall` command beside the server, as a user would in a second terminal."""
        return subprocess.run(
            [sys.executable, "-m", "shieldwall.cli.main", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def get(self, path: str, **options: str) -> Any:
        answer = self.http.get(path, params=options)
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def device(self) -> dict[str, Any]:
        """The device of the agent, once it has reported itself."""
        return until(lambda: next(iter(self.get("/api/machines")["value"]), None))

    def finished(self, action: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
        """A machine action once it is final."""

        def look() -> dict[str, Any] | None:
            now = self.get(f"/api/machineactions/{action['id']}")
            return now if now["status"] not in ("Pending", "InProgress") else None

        return until(look, seconds)


def until(look: Callable[[], Any], seconds: float = 30) -> Any:
    """What ``look`` answers, as soon as it is true; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"nothing came within {seconds:g} s")


def trusting(ca: str) -> ssl.SSLContext:
    """A TLS context that trusts this CA alone."""
    return ssl.create_default_context(cafile=ca)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(data: Path, port: int, *options: str) -> Iterator[Running]:
    environment = {
        **os.environ,
        "SHIELDWALL_DATA": str(data),
        "SHIELDWALL_PORT": str(port),
        # Tests ask far more often than a client should, to be quick.
        "SHIELDWALL_RATE_LIMITS": "false",
        "COLUMNS": "160",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "shieldwall.cli.main", "run", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output: list[str] = []
    try:
        assert process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        for line in process.stdout:
            output.append(line)
            if "Ctrl-C" in line:
                break
            assert time.monotonic() < deadline, "".join(output)
        assert any("Ctrl-C" in line for line in output), "".join(output)
        ready = json.loads((data / "secrets" / "quickstart.json").read_text())
        with httpx.Client(base_url=ready["url"], verify=trusting(ready["ca"]), timeout=30) as http:
            answer = http.post(
                f"/{ready['tenant_id']}/oauth2/v2.0/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": ready["client_id"],
                    "client_secret": ready["client_secret"],
                    "scope": "https://api.securitycenter.microsoft.com/.default",
                },
            )
            http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            yield Running(process, output, environment, ready, http)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                rest, _ = process.communicate(timeout=STOP_SECONDS)
                output.append(rest)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail("Ctrl-C did not stop it: " + "".join(output))


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., AbstractContextManager[Running]]:
    """Starts `shieldwall run` on this test's own data; may be called again for a restart."""
    port = free_port()
    return lambda *options: running(tmp_path / "data", port, *options)
