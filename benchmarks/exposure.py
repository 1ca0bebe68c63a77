"""One piece of software, one vulnerability, one recommendation, with 240,000 inventory rows.

The baseline is computing the row, which is what an answer takes where nothing is kept.

Example: python -m benchmarks.exposure --devices 2000
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from shieldwall.exposure.summaries import KINDS, Summaries
from shieldwall.settings import Settings
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

TENANT = "11111111-1111-1111-1111-111111111111"
PACKAGES, PRODUCTS, COMMON = 120, 3000, 100
WEAKNESSES, CVES, CONFIGURATIONS = 20, 5000, 50
AIM = 20.0
"""Milliseconds at p99."""
ASKED = {
    "Software": "contoso-_-product5",
    "Vulnerabilities": "CVE-2026-25",
    "Recommendations": "va-_-contoso-_-product5",
}


def fill(store: TelemetryStore, devices: int) -> None:
    """Half of a device's packages are of the few that are common; some of those have weaknesses."""
    chance = random.Random(1)
    for start in range(0, devices, 200):
        numbers = range(start, min(start + 200, devices))
        chosen = {
            number: sorted(
                chance.sample(range(COMMON), PACKAGES // 2)
                + chance.sample(range(COMMON, PRODUCTS), PACKAGES // 2)
            )
            for number in numbers
        }
        store.insert_rows("DeviceTvmSoftwareInventory", TENANT, _installed(chosen))
        store.insert_rows("DeviceTvmSoftwareVulnerabilities", TENANT, _affected(chosen))
        store.insert_rows("DeviceTvmSecureConfigurationAssessment", TENANT, _checked(chosen))
    facts = [
        {
            "CveId": f"CVE-2026-{cve}",
            "CvssScore": str(cve % 100 / 10),
            "IsExploitAvailable": cve % 11 == 0,
            "VulnerabilitySeverityLevel": "High",
        }
        for cve in range(CVES)
    ]
    store.insert_rows("DeviceTvmSoftwareVulnerabilitiesKB", TENANT, facts)


Chosen = dict[int, list[int]]


def _row(device: int, product: int) -> dict[str, Any]:
    return {
        "DeviceId": f"{device:040x}",
        "SoftwareVendor": "contoso",
        "SoftwareName": f"product{product}",
        "SoftwareVersion": f"1.{product % 7}",
    }


def _installed(chosen: Chosen) -> list[dict[str, Any]]:
    return [_row(device, product) for device, products in chosen.items() for product in products]


def _affected(chosen: Chosen) -> list[dict[str, Any]]:
    return [
        _row(device, product)
        | {
            "CveId": f"CVE-2026-{product * 5 % CVES}",
            "VulnerabilitySeverityLevel": "High",
            "RecommendedSecurityUpdate": "Update",
        }
        for device, products in chosen.items()
        for product in products[:WEAKNESSES]
    ]


def _checked(chosen: Chosen) -> list[dict[str, Any]]:
    return [
        {
            "DeviceId": f"{device:040x}",
            "ConfigurationId": f"scid-{number}",
            "ConfigurationImpact": 5.0,
            "IsCompliant": (device + number) % 5 > 0,
            "IsApplicable": True,
        }
        for device in chosen
        for number in range(CONFIGURATIONS)
    ]


def times(work: Callable[[], object], count: int) -> list[float]:
    """Milliseconds of each of some runs, sorted."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


def measure(store: TelemetryStore, devices: int) -> bool:
    fill(store, devices)
    summaries = Summaries(store)
    began = time.perf_counter()
    summaries.compute(TENANT)
    print(f"computing all, once after a change {1000 * (time.perf_counter() - began):8.1f} ms")
    reached = True
    for kind, identifier in ASKED.items():
        parameters = {"until": now().strftime("%Y-%m-%d %H:%M:%S.%f"), "id": identifier}
        sql = f"SELECT * FROM ({KINDS[kind]}) WHERE id = {{id:String}}"
        rows = store.query(TENANT, sql, parameters)
        kept = summaries.find(TENANT, kind, identifier)
        assert len(rows) == 1
        assert kept is not None
        assert kept["id"] == rows[0]["id"] == identifier
        plain = times(partial(store.query, TENANT, sql, parameters), 5)[0]
        found = times(partial(summaries.find, TENANT, kind, identifier), 300)
        p50, p99 = found[150], found[297]
        print(
            f"one of {kind:16} computed (baseline) {plain:6.1f} ms   kept p50 {p50:5.1f}   p99 {p99:5.1f} ms"
        )
        reached &= p99 < AIM
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=2000)
    with tempfile.TemporaryDirectory() as scratch:
        store = TelemetryStore.open(Settings(data=Path(scratch)))
        try:
            reached = measure(store, parser.parse_args().devices)
        finally:
            store.close()
    print(f"aim: p99 under {AIM:g} ms:", "reached" if reached else "missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
