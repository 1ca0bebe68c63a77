"""Added latency of an execution with the gate on, beside the same without, interleaved in one run.

On a tmpfs of its own, so that only the measured programs are asked about. Needs root. `off` and `off new`
are without a gate, `cleared` is a file that was asked about before (the usual case), `asked` a new file each
time: hashed and answered.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shieldwall_agent.enforcement.gate_client import GateClient
from shieldwall_agent.enforcement.policy import PolicyStore


def run_once(path: Path) -> float:
    """Microseconds from before the spawn until the program has ended."""
    began = time.perf_counter_ns()
    pid = os.posix_spawn(path, [str(path)], {})
    os.waitpid(pid, 0)
    return (time.perf_counter_ns() - began) / 1000


def measure(place: Path, count: int, fresh: bool, round_number: int) -> list[float]:
    if not fresh:
        return [run_once(place / "tool") for _ in range(count)]
    taken = []
    for number in range(count):
        path = place / f"new-{round_number}-{number}"
        shutil.copy(place / "tool", path)
        taken.append(run_once(path))
        path.unlink()
    return taken


class Gate:
    def __init__(self, state: Path, place: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "shieldwall_agent.enforcement.gate",
            str(state),
            "--root",
            str(place),
        ]
        self._process = subprocess.Popen(command)
        self._client = GateClient(state)
        if not self._client.wait_connected(10):
            raise SystemExit("the gate does not start")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._client.close()


def report(name: str, values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    figures = {"p50_us": round(cuts[49], 1), "p99_us": round(cuts[98], 1), "executions": len(values)}
    print(f"{name:<8} p50 {figures['p50_us']:>8.1f} us   p99 {figures['p99_us']:>8.1f} us   n={len(values)}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--count", type=int, default=300, help="executions of each case in a round")
    parser.add_argument("--indicators", type=int, default=15_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("needs root")
    taken: dict[str, list[float]] = {"off": [], "off new": [], "cleared": [], "asked": []}
    with tempfile.TemporaryDirectory() as scratch:
        state, place = Path(scratch) / "state", Path(scratch) / "mount"
        place.mkdir()
        policy = PolicyStore(state)
        upsert = [
            {"id": str(n), "type": "FileSha256", "value": f"{n:064x}", "action": "Block"}
            for n in range(options.indicators)
        ]
        policy.apply_delta({"from": 0, "to": 1, "full": True, "upsert": upsert, "delete": []})
        policy.close()
        subprocess.run(["mount", "-t", "tmpfs", "shieldwall-bench", place], check=True)
        try:
            shutil.copy("/bin/true", place / "tool")
            time.sleep(0.1)
            for number in range(options.rounds):
                taken["off"] += measure(place, options.count, False, number)
                taken["off new"] += measure(place, options.count // 4, True, number)
                gate = Gate(state, place)
                try:
                    run_once(place / "tool")
                    taken["cleared"] += measure(place, options.count, False, number)
                    taken["asked"] += measure(place, options.count // 4, True, number)
                finally:
                    gate.close()
        finally:
            subprocess.run(["umount", "-l", place], check=True)
    figures = {name: report(name, values) for name, values in taken.items()}
    print(
        f"added    cleared {figures['cleared']['p50_us'] - figures['off']['p50_us']:+.1f} us, "
        f"new file {figures['asked']['p50_us'] - figures['off new']['p50_us']:+.1f} us (p50)"
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
