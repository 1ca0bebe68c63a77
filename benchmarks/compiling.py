"""Parse, bind and generate: how long queries take to compile, warm, in one process.

The baseline is Python compiling a text of the same length. ``FILE`` holds a JSON object with a query a line.

Example: python -m benchmarks.compiling
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.hunts import hunts
from shieldwall.kql.compiler import Compiler
from shieldwall.kql.errors import KqlError
from shieldwall.telemetry.hunting import hunting_schema

TRIES = 5
MEDIAN, HIGH = 2.0, 20.0
"""Milliseconds that the median and the 99th percentile may take."""


def milliseconds(work: Callable[[], object]) -> float:
    """The best of several runs, in time of this process alone."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.process_time_ns()
        work()
        best = min(best, (time.process_time_ns() - began) / 1e6)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE")
    file = parser.parse_args().file
    if file is None:
        queries = [kql for kql, _ in hunts(datetime(2026, 1, 1, tzinfo=UTC)).values()]
    else:
        queries = [json.loads(line)["query"] for line in file.read_text().splitlines()]
    schema = hunting_schema()
    times, python = [], []
    refused = 0
    for query in queries:
        try:
            times.append(milliseconds(lambda query=query: Compiler(schema).compile(query)))
        except KqlError:
            refused += 1
            continue
        text = ("a = b.c(d, 'e') + 1\n" * (len(query) // 20 + 1))[: len(query) // 20 * 20 + 20]
        python.append(milliseconds(lambda text=text: compile(text, "x", "exec")))
    times.sort()
    python.sort()
    median, high = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(f"{len(times)} queries, {refused} refused")
    print(f"median {median:.2f} ms (aim {MEDIAN}), 99th percentile {high:.2f} ms (aim {HIGH})")
    print(f"Python compiling texts as long: median {python[len(python) // 2]:.2f} ms")
    return 1 if median > MEDIAN or high > HIGH else 0


if __name__ == "__main__":
    sys.exit(main())
