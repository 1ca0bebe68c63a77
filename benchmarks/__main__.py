"""`python -m benchmarks [NAME ...]`: run all benchmarks, or the named ones, one process each.

Example: python -m benchmarks ingest exec_latency
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

BENCHMARKS = {
    "ingest": "rows/s through HTTPS with durable acknowledgement, beside a bare ClickHouse insert",
    "importing": "Sysmon events from an EVTX file to durable tables on one core, beside parsing alone",
    "matching": "storing groups with 0, 100,000 and a million indicators",
    "rules": "thousands of rules over a million events in one pass, beside one query a rule; then live",
    "sigma": "loading 2,600 Sigma rules, cold and cached; with paths, recordings against a plain evaluator",
    "compiling": "parsing, binding and generating, beside Python compiling texts as long",
    "hunting": "KQL beside SQL by hand, and beside DuckDB over Parquet, over 20 million process events",
    "correlation": "100,000 alerts into incidents, right and in time; one more beside a million",
    "external_alerts": "500 alerts of an IDS in one request, each to its device, beside one a request",
    "alert_pages": "10,000 alerts with evidence in one page, and one alert's reads while events come in",
    "exposure": "one piece of software, vulnerability or recommendation with 240,000 inventory rows",
    "exec_latency": "added latency of an execution with enforcement on, beside the same without",
    "fork_storm": "short processes captured by the agent, its CPU for each, its memory and CPU when idle",
    "indicator_latency": "from POST /api/indicators to the refusal of an execution",
}
NEED_ROOT = {"exec_latency", "fork_storm", "indicator_latency"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    failed = 0
    for name in names:
        print(f"\n== {name}: {BENCHMARKS[name]}", flush=True)
        if name in NEED_ROOT and os.geteuid() != 0:
            print("left out: it needs root")
            continue
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
