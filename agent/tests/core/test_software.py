"""Installed packages, from the lists that package managers keep."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent import software
from shieldwall_agent.device_reporter import SOFTWARE_SECONDS, DeviceReporter
from shieldwall_agent.software import Packages

STATUS = """Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2.13
Description: library
 Version: no field of its own

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: hold ok installed
Architecture: amd64
Version: 5.2
"""


def test_packages_that_dpkg_has_installed(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(STATUS)
    packages = Packages(status, ())
    assert packages.installed() == [("bash", "5.2", "amd64"), ("zlib1g", "1:1.2.13", "amd64")]
    status.write_text(STATUS.replace("5.2", "5.3-1"))
    assert packages.installed()[0] == ("bash", "5.3-1", "amd64"), "read anew when it has changed"


def test_packages_that_rpm_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "rpm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf 'bash\\t5.2-1.el9\\tx86_64\\nbroken\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert Packages(tmp_path / "none", (tmp_path,)).installed() == [], "without a database nothing is asked"
    (tmp_path / "rpmdb.sqlite").write_bytes(b"x")
    assert Packages(tmp_path / "none", (tmp_path,)).installed() == [("bash", "5.2-1.el9", "x86_64")]


def test_the_list_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "MOST_PACKAGES", 1)
    monkeypatch.setattr(software, "LONGEST", 3)
    status = tmp_path / "status"
    status.write_text(STATUS)
    assert Packages(status, ()).installed() == [("bas", "5.2", "amd")]


class Client:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def request(self, _method: str, _path: str, body: bytes, _headers: dict[str, str]) -> None:
        self.sent.append(json.loads(body))

    def close(self) -> None:
        pass


def test_packages_are_reported_when_they_change_and_daily(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(STATUS)
    client = Client()
    own = {"sensors": {}, "isolated": False, "counters": {}}
    reporter = DeviceReporter(client, lambda: dict(own), threading.Event())  # type: ignore[arg-type]
    reporter._packages = Packages(status, ())
    start = time.monotonic()
    assert reporter.report_if_due(start)
    assert client.sent[-1]["software"][0] == ["bash", "5.2", "amd64"]
    own["isolated"] = True
    assert reporter.report_if_due(start + 1)
    assert "software" not in client.sent[-1]
    assert not reporter.report_if_due(start + 2)
    status.write_text(STATUS.replace("5.2", "5.3-1"))
    assert reporter.report_if_due(start + 3)
    assert client.sent[-1]["software"][0] == ["bash", "5.3-1", "amd64"]
    assert reporter.report_if_due(start + 3 + SOFTWARE_SECONDS)
    assert "software" in client.sent[-1]
