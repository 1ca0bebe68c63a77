"""IBM's stix-shifter with its Defender module: its translated hunts run here and its results parse.

It pins azure-identity and attrs to versions that this project's other tests cannot use, so it has an
environment of its own.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shieldwall.times import now
from tests.api.conftest import DEVICE
from tests.client.apart import python_of, run
from tests.client.conftest import Live
from tests.conftest import TENANT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def python() -> Path:
    return python_of("stix-shifter")


def hunt(python: Path, live: Live, pattern: str) -> dict[str, Any]:
    start, stop = (f"t'{now() + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S.000Z}'" for hours in (-1, 1))
    request = {
        "pattern": f"{pattern} START {start} STOP {stop}",
        "host": "127.0.0.1",
        "port": int(live.url.rpartition(":")[2]),
        "ca": Path(live.ca).read_text(),
        "auth": {"tenant": live.tenant, "clientId": live.client_id, "clientSecret": live.secret},
    }
    return run(python, "stix_shifter_hunt.py", request, AZURE_AUTHORITY_HOST=live.url, SSL_CERT_FILE=live.ca)


def test_it_pings_hunts_and_makes_stix_of_the_results(python: Path, live: Live) -> None:
    row = {
        "Timestamp": now(),
        "DeviceId": DEVICE,
        "DeviceName": "web01.contoso.com",
        "ActionType": "ProcessCreated",
        "FileName": "stixprobe",
        "FolderPath": "/tmp/stixprobe",
        "ProcessId": 4242,
        "ProcessCommandLine": "/tmp/stixprobe --now",
        "SHA256": "5" * 64,
        "AccountName": "root",
        "ReportId": 7,
    }
    live.services.telemetry.insert_rows("DeviceProcessEvents", TENANT, [row])
    found = hunt(python, live, "[process:name = 'stixprobe']")
    assert found["ping"]["success"] is True
    assert found["rows"] == 1
    assert "objects" in found["bundle"], found["bundle"]
    observed = [each for each in found["bundle"]["objects"] if each["type"] == "observed-data"]
    assert len(observed) == 1
    processes = [each for each in observed[0]["objects"].values() if each["type"] == "process"]
    assert "/tmp/stixprobe --now" in [each.get("command_line") for each in processes]


@pytest.mark.parametrize(
    "pattern",
    [
        "[ipv4-addr:value = '203.0.113.9' OR ipv4-addr:value = '198.51.100.7']",
        "[file:hashes.'SHA-256' = '" + "6" * 64 + "' AND file:name LIKE 'evil%']",
        "[domain-name:value = 'bad.example.com'] OR [url:value LIKE '%bad%']",
        "[user-account:user_id IN ('nobody', 'nowhere')]",
        "[windows-registry-key:key LIKE '%CurrentVersion%']",
        "[x-oca-asset:hostname = 'nowhere']",
        "[x-ibm-finding:name = 'Nothing']",
    ],
)
def test_its_translated_queries_run(python: Path, live: Live, pattern: str) -> None:
    found = hunt(python, live, pattern)
    assert found["queries"]
    assert found["rows"] == 0
