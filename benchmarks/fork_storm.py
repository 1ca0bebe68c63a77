"""Thousands of processes that live for a moment: how many the agent tells, and what it costs the machine.

Runs the whole agent, enrolled with a light server of its protocol in this process, and a storm of a dynamic
and a hand-made static program. Every process carries a marker of its own in its arguments, and counts as
captured when the server has it as ProcessCreated. The same storm runs without the agent before. Needs root.

Example: python -m benchmarks.fork_storm --count 5000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "agent/tests/core"))

from protocol_server import ProtocolServer

from shieldwall_agent import ipc
from shieldwall_agent.config import State
from shieldwall_agent.enrolment import enrol

AT_ONCE = 8
SETTLE_SECONDS = 20.0  # without a further event, after which what is missing counts as lost
TICKS = os.sysconf("SC_CLK_TCK")

_EXIT_0 = {  # ELF's machine number, and exit_group(0) or exit(0) in its instructions
    "x86_64": (62, bytes.fromhex("31ffb83c0000000f05")),
    "aarch64": (183, bytes.fromhex("000080d2a80b80d2010000d4")),
}


def static_program(path: Path) -> None:
    """The smallest program: an ELF header, one segment, and a call of exit. No interpreter, no library."""
    machine, code = _EXIT_0[platform.machine()]
    base, head = 0x400000, 64 + 56
    size = head + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, machine, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    path.write_bytes(header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + code)
    path.chmod(0o755)


def storm(programs: list[str], marker: str, count: int) -> float:
    """Start `count` processes, a few at a time and the programs in turn; the seconds until all have ended."""
    began = time.perf_counter()
    running = 0
    for number in range(count):
        program = programs[number % len(programs)]
        os.posix_spawn(program, [program, f"{marker}-{number}"], {})
        running += 1
        if running == AT_ONCE:
            os.wait()
            running -= 1
    while running:
        os.wait()
        running -= 1
    return time.perf_counter() - began


def storm_elsewhere(programs: list[str], marker: str, count: int) -> float:
    """A storm in a process of its own: this one serves the agent, and must not slow the storm."""
    command = [sys.executable, "-m", "benchmarks.fork_storm", "--storm", marker, "--count", str(count)]
    done = subprocess.run([*command, *programs], check=True, capture_output=True, text=True)
    return float(done.stdout)


class Agent:
    """The agent as a user starts it, and what it costs by /proc."""

    def __init__(self, state: State) -> None:
        self._state = state
        command = [
            sys.executable,
            "-m",
            "shieldwall_agent",
            "--state",
            str(state.folder),
            "run",
            "--ephemeral",
        ]
        self._log = (state.folder / "log").open("wb")
        self._process = subprocess.Popen(command, stderr=self._log)

    def status(self) -> dict[str, Any]:
        return ipc.ask(self._state.folder, ipc.CONTROL, {"ask": "status"})

    def wait_ready(self, seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.status()["processes"]["sensor"]["sensors"]["modules"] is not None:
                    return
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.3)
        raise SystemExit((self._state.folder / "log").read_text()[-2000:] or "the agent does not start")

    def pids(self) -> dict[str, int]:
        status = self.status()
        children = {name: child["pid"] for name, child in status["processes"].items()}
        return {"supervisor": status["pid"], **children}

    def cpu_seconds(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.pids().items()}

    def memory(self) -> dict[str, tuple[float, float]]:
        """Megabytes of PSS and RSS of each process."""
        return {name: memory(pid) for name, pid in self.pids().items()}

    def losses(self) -> int:
        """Of processes, in the ring and in the spool. Files that others change may be held back."""
        sensor = self.status()["processes"]["sensor"]
        return int(sensor["sensors"]["processes"]["lost"]) + int(sensor["spool"]["dropped"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def cpu_seconds(pid: int) -> float:
    """utime and stime of all its threads, those that ended too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> tuple[float, float]:
    kilobytes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        words = line.split()
        kilobytes[words[0]] = int(words[1])
    return kilobytes["Pss:"] / 1024, kilobytes["Rss:"] / 1024


def captured(server: ProtocolServer, marker: str) -> set[str]:
    return {
        row["ProcessCommandLine"].rpartition(" ")[2]
        for row in list(server.rows)
        if row.get("ActionType") == "ProcessCreated" and f" {marker}-" in row.get("ProcessCommandLine", "")
    }


def wait_captured(server: ProtocolServer, marker: str, count: int) -> set[str]:
    found = captured(server, marker)
    changed = time.monotonic()
    while len(found) < count and time.monotonic() - changed < SETTLE_SECONDS:
        time.sleep(0.5)
        now = captured(server, marker)
        if len(now) > len(found):
            changed = time.monotonic()
        found = now
    return found


def spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def paced(programs: list[str], per_second: int, seconds: int) -> None:
    for number in range(per_second * seconds):
        program = programs[number % len(programs)]
        os.waitpid(os.posix_spawn(program, [program, f"paced-{number}"], {}), 0)
        time.sleep(1 / per_second)


def measure(folder: Path, count: int, seconds: int) -> dict[str, Any]:
    static_program(folder / "tiny")
    shutil.copy("/bin/true", folder / "true")
    programs = [str(folder / "tiny"), str(folder / "true")]
    storm_elsewhere(programs, "warm", count // 10)
    alone = storm_elsewhere(programs, "alone", count)
    server = ProtocolServer(folder / "server")
    state = State(folder / "agent")
    enrol(state, server.url, "token-1", server.authority)
    agent = Agent(state)
    try:
        agent.wait_ready()
        paced(programs, 10, 10)  # the canaries, the first report and the first hashes are behind us then
        idle = agent.memory()
        before = agent.cpu_seconds()
        time.sleep(seconds)
        resting = spent(before, agent.cpu_seconds())
        before = agent.cpu_seconds()
        paced(programs, 10, seconds)
        calm = spent(before, agent.cpu_seconds())
        marker = uuid.uuid4().hex
        before = agent.cpu_seconds()
        beside = storm_elsewhere(programs, marker, count)
        found = wait_captured(server, marker, count)
        storming = spent(before, agent.cpu_seconds())
        return {
            "processes": count,
            "captured": len(found),
            "losses": agent.losses(),
            "storm_seconds": {"without": alone, "with": beside},
            "us_per_event": {name: 1e6 * cpu / count for name, cpu in storming.items()},
            "cpu_percent_resting": {name: 100 * cpu / seconds for name, cpu in resting.items()},
            "cpu_percent_10_a_second": {name: 100 * cpu / seconds for name, cpu in calm.items()},
            "pss_mb": {name: pss for name, (pss, _) in idle.items()},
            "rss_mb": {name: rss for name, (_, rss) in idle.items()},
            "pss_mb_after": {name: pss for name, (pss, _) in agent.memory().items()},
        }
    finally:
        agent.close()
        server.close()


def show(figures: dict[str, Any]) -> None:
    def by_process(name: str, title: str, unit: str) -> None:
        parts = "  ".join(f"{process} {value:.1f}" for process, value in figures[name].items())
        print(f"{title:<34} {sum(figures[name].values()):8.1f} {unit:<9} ({parts})")

    count, seen = figures["processes"], figures["captured"]
    seconds = figures["storm_seconds"]
    print(f"{'captured':<34} {seen:8} of {count} ({100 * seen / count:.2f} %)")
    print(f"{'losses the agent counted':<34} {figures['losses']:8}")
    print(f"{'storm without the agent (baseline)':<34} {seconds['without']:8.2f} s")
    ratio = seconds["with"] / seconds["without"]
    print(f"{'storm with the agent':<34} {seconds['with']:8.2f} s         ({ratio:.2f} times)")
    by_process("us_per_event", "agent's CPU for each process", "us")
    by_process("cpu_percent_10_a_second", "agent's CPU at 10 processes/s", "% of one")
    by_process("cpu_percent_resting", "agent's CPU when idle", "% of one")
    by_process("pss_mb", "memory when idle, PSS", "MB")
    by_process("rss_mb", "memory when idle, RSS", "MB")
    by_process("pss_mb_after", "memory after the storm, PSS", "MB")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=60, help="of rest, and of 10 processes a second")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--storm", metavar="MARKER", help=argparse.SUPPRESS)
    parser.add_argument("programs", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.storm:
        print(storm(options.programs, options.storm, options.count))
        return 0
    if os.geteuid() != 0:
        raise SystemExit("needs root")
    with tempfile.TemporaryDirectory(prefix="shieldwall-bench-") as scratch:
        figures = measure(Path(scratch), options.count, options.seconds)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return 0 if figures["captured"] == figures["processes"] and not figures["losses"] else 1


if __name__ == "__main__":
    sys.exit(main())
