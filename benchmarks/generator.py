"""Seeded events as agents send them: process, network and file events with realistic command lines."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

COMMANDS = (
    "/usr/bin/python3 /opt/app/worker.py --queue {word} --id {number}",
    "/bin/sh -c 'ps aux | grep {word}'",
    "curl -fsSL https://{word}.example.com/pkg/{number}.tar.gz -o /tmp/{number}.tar.gz",
    "systemctl restart {word}.service",
    "rsync -az /var/lib/{word}/ backup@10.0.{small}.{small}:/srv/{word}-{number}/",
    "powershell.exe -NoProfile -ExecutionPolicy Bypass -File C:\\ProgramData\\{word}\\run{number}.ps1",
    "cmd.exe /c schtasks /query /tn {word}{number}",
    "git -C /srv/{word} fetch --depth {small} origin main",
)
WORDS = ("nginx", "billing", "metrics", "orders", "ledger", "search", "mailer", "builder", "gateway", "audit")
PROGRAMS = ("python3", "bash", "curl", "systemctl", "rsync", "git", "powershell.exe", "sshd")


def events(count: int, seed: int = 1) -> Iterator[dict[str, object]]:
    """``count`` events within the last hour: of ten, six executions, three connections, one file."""
    chance = random.Random(seed)
    begin = datetime.now(UTC) - timedelta(hours=1)
    hashes = [(f"{chance.getrandbits(160):040x}", f"{chance.getrandbits(256):064x}") for _ in range(500)]
    for number in range(count):
        time = begin + timedelta(microseconds=3_600_000_000 * number // count)
        sha1, sha256 = chance.choice(hashes)
        word, program = chance.choice(WORDS), chance.choice(PROGRAMS)
        line = chance.choice(COMMANDS).format(
            word=word, number=chance.getrandbits(24), small=chance.getrandbits(6)
        )
        event: dict[str, object] = {
            "Timestamp": time.isoformat().replace("+00:00", "Z"),
            "ReportId": number,
            "InitiatingProcessFileName": program,
            "InitiatingProcessFolderPath": f"/usr/bin/{program}",
            "InitiatingProcessId": chance.getrandbits(20),
            "InitiatingProcessCommandLine": f"{program} --service {word}",
            "InitiatingProcessCreationTime": begin.isoformat().replace("+00:00", "Z"),
            "InitiatingProcessAccountName": "root",
            "InitiatingProcessSHA1": sha1,
            "InitiatingProcessParentFileName": "systemd",
        }
        kind = number % 10
        if kind < 6:
            event |= {
                "Table": "DeviceProcessEvents",
                "ActionType": "ProcessCreated",
                "FileName": program,
                "FolderPath": f"/usr/bin/{program}",
                "SHA1": sha1,
                "SHA256": sha256,
                "FileSize": chance.getrandbits(20),
                "ProcessId": chance.getrandbits(20),
                "ProcessCommandLine": line,
                "ProcessCreationTime": event["Timestamp"],
                "AccountName": "root",
                "AdditionalFields": {"ProcessCurrentWorkingDirectory": f"/srv/{word}"},
            }
        elif kind < 9:
            event |= {
                "Table": "DeviceNetworkEvents",
                "ActionType": "ConnectionSuccess",
                "RemoteIP": f"198.51.{chance.getrandbits(8)}.{chance.getrandbits(8)}",
                "RemotePort": 443,
                "RemoteUrl": f"{word}.example.com",
                "LocalIP": "10.0.0.5",
                "LocalPort": chance.getrandbits(16),
                "Protocol": "Tcp",
            }
        else:
            event |= {
                "Table": "DeviceFileEvents",
                "ActionType": "FileCreated",
                "FileName": f"{word}{number}.tmp",
                "FolderPath": f"/var/lib/{word}/{word}{number}.tmp",
                "SHA1": sha1,
                "SHA256": sha256,
                "FileSize": chance.getrandbits(20),
            }
        yield event


def batches(count: int, rows: int = 5000, seed: int = 1) -> Iterator[bytes]:
    """The events as gzip NDJSON bodies of at most ``rows`` lines, as agents compress them."""
    lines: list[str] = []
    for event in events(count, seed):
        lines.append(json.dumps(event, separators=(",", ":")))
        if len(lines) == rows:
            yield gzip.compress("\n".join(lines).encode(), 1)
            lines = []
    if lines:
        yield gzip.compress("\n".join(lines).encode(), 1)
