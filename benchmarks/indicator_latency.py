"""From POST /api/indicators to the refusal of an execution on an enrolled agent.

Starts its own server and agent on scratch data, then, for each try, makes a new program, posts a Block
indicator for its SHA-256 and runs it every few milliseconds until the kernel refuses. Needs root.

Example: python -m benchmarks.indicator_latency --tries 50
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.conftest import free_port, running

GIVE_UP = 30.0


def refused(program: Path) -> bool:
    try:
        subprocess.run([program], check=False)
    except PermissionError:
        return True
    return False


def one_try(http: object, folder: Path, number: int) -> tuple[float, float]:
    """Seconds from sending the indicator to the first refusal, and to the server's own answer."""
    content = Path("/bin/true").read_bytes() + secrets.token_bytes(16)
    program = folder / f"program{number}"
    program.write_bytes(content)
    program.chmod(0o755)
    assert not refused(program)
    body = {
        "indicatorType": "FileSha256",
        "indicatorValue": hashlib.sha256(content).hexdigest(),
        "action": "Block",
        "title": "benchmark",
        "description": "benchmark",
        "generateAlert": False,
    }
    began = time.monotonic()
    answer = http.post("/api/indicators", json=body)  # type: ignore[attr-defined]
    answered = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    while not refused(program):
        if time.monotonic() - began > GIVE_UP:
            raise SystemExit("not refused within 30 s: is the gate running?")
        time.sleep(0.005)
    return time.monotonic() - began, answered


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=50)
    tries = parser.parse_args().tries
    if os.geteuid() != 0:
        print("needs root")
        return 1
    with tempfile.TemporaryDirectory(prefix="shieldwall-bench-") as scratch:
        folder = Path(scratch)
        with running(folder / "data", free_port()) as shieldwall:
            shieldwall.device()
            times = [one_try(shieldwall.http, folder, number) for number in range(tries)]
    whole = sorted(1000 * first for first, _ in times)
    server = sorted(1000 * second for _, second in times)
    for name, values in (("to refusal", whole), ("server's answer (baseline)", server)):
        p99 = values[min(len(values) - 1, round(0.99 * len(values)))]
        print(f"{name:28} p50 {statistics.median(values):7.1f}   p99 {p99:7.1f}   max {values[-1]:7.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
