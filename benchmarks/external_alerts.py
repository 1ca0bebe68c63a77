"""Alerts of an IDS, 500 in one request, while 100,000 connections of 200 devices are stored.

A third is about a connection as its device saw it, a third about one behind a gateway, and of a third only
the device's address is known. All but what fits two devices must get their device within the request. The
baseline is as many alerts in a request each, of which a tenth are sent.

Example: python -m benchmarks.external_alerts --connections 100000 --alerts 500
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.stores import stores
from shieldwall.detection.external.intake import ExternalAlerts, Outcome
from shieldwall.detection.external.offers import IndicatorOffers
from shieldwall.detection.external.reading import read
from shieldwall.detection.indicators import IndicatorService
from shieldwall.devices.models import Device
from shieldwall.devices.reports import store_reports
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now, to_text
from shieldwall.wakeups import Wakeups

DEVICES = 200
GATEWAY = "11.1.1.7"
HOURS = 6
CHUNK = 20_000
AIM_SECONDS = 3.0
AIM_FOUND = 0.99
"""Two devices may have called the same far side from the same port a moment apart."""

Row = dict[str, Any]


def address(number: int) -> str:
    return f"10.0.{number // 200}.{number % 200 + 1}"


def add_devices(database: Database, store: TelemetryStore, tenant: str) -> None:
    with database.session(tenant) as session:
        for number in range(DEVICES):
            adapter = {
                "ipAddress": address(number),
                "macAddress": f"02:00:00:00:{number // 256:02x}:{number % 256:02x}",
                "type": "Ethernet",
                "operationalStatus": "Up",
            }
            device = Device(
                id=f"{number:040x}",
                tenant_id=tenant,
                computer_dns_name=f"host{number}.contoso.com",
                first_seen=now() - timedelta(days=9),
                last_seen=now(),
                last_contact=now(),
                public_key="k",
                last_ip_address=address(number),
                last_external_ip_address=GATEWAY,
                ip_addresses=[adapter],
            )
            session.add(device)
            session.flush()
            store_reports(store, [device])


def connections(count: int, chance: random.Random, until: datetime) -> Iterator[Row]:
    """Connections of the last hours, to 5,000 addresses of which some are much used."""
    for number in range(count):
        device = chance.randrange(DEVICES)
        far = int(chance.paretovariate(0.7)) % 5000
        moment = until - timedelta(seconds=chance.uniform(60, HOURS * 3600))
        yield {
            "Timestamp": moment,
            "DeviceId": f"{device:040x}",
            "DeviceName": f"host{device}.contoso.com",
            "ActionType": "ConnectionSuccess",
            "RemoteIP": f"11.{2 + far // 65536}.{far // 256 % 256}.{far % 256}",
            "RemotePort": chance.choice((443, 443, 443, 80, 22)),
            "LocalIP": address(device),
            "LocalPort": 32768 + number % 28000,
            "Protocol": "Tcp",
            "ReportId": number + 1,
            "InitiatingProcessId": 700 + number % 50,
            "InitiatingProcessFileName": "curl",
            "InitiatingProcessFolderPath": "/usr/bin/curl",
            "InitiatingProcessCommandLine": f"curl {number}",
            "InitiatingProcessCreationTime": moment - timedelta(seconds=1),
            "InitiatingProcessSHA256": f"{number:064x}",
            "InitiatingProcessAccountName": f"user{device % 40}",
            "InitiatingProcessAccountDomain": "contoso",
        }


def alert(row: Row, number: int) -> Row:
    """What an IDS says of a connection, or of one like it that nobody has reported."""
    seen = row["Timestamp"] + timedelta(milliseconds=300)
    source: dict[str, Any] = {"sourceAddress": row["LocalIP"], "sourcePort": row["LocalPort"]}
    if number % 3 == 1:
        source["sourceAddress"] = GATEWAY
    elif number % 3 == 2:
        source["sourcePort"] = 1024
        row = row | {"RemoteIP": f"11.200.{number // 200}.{number % 200}"}
    return {
        "vendor": "Contoso",
        "product": "IDS",
        "sensor": f"ids-{number % 4}",
        "alertId": f"{number}",
        "ruleId": str(number % 60),
        "time": to_text(seen),
        "title": f"Rule {number % 60}",
        "severity": ("Medium", "High")[number % 2],
        "category": "CommandAndControl",
        "network": {
            **source,
            "destinationAddress": row["RemoteIP"],
            "destinationPort": row["RemotePort"],
            "protocol": "tcp",
            "domain": f"c{number}.bad.example",
        },
    }


def send(external: ExternalAlerts, tenant: str, bodies: Sequence[Row]) -> tuple[float, list[Outcome]]:
    items, _ = read(json.dumps(bodies).encode(), None)
    partner = Principal(tenant, "partner", "partner", frozenset({"Alert.Submit.All"}))
    began = time.perf_counter()
    outcomes = external.take(partner, items)
    return time.perf_counter() - began, outcomes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--alerts", type=int, default=500)
    options = parser.parse_args()
    chance, settings = random.Random(5), Settings()
    with (
        tempfile.TemporaryDirectory(prefix="shieldwall-bench-") as scratch,
        stores(Path(scratch)) as (store, database, tenant),
    ):
        offers = IndicatorOffers(database, IndicatorService(database, Wakeups(), settings))
        external = ExternalAlerts(database, store, offers, settings)
        add_devices(database, store, tenant)
        rows = list(connections(options.connections, chance, now()))
        for start in range(0, len(rows), CHUNK):
            store.insert_rows("DeviceNetworkEvents", tenant, rows[start : start + CHUNK])
        alone = max(1, options.alerts // 10)
        picked = chance.sample(rows, options.alerts + alone + 1)
        bodies = [alert(row, number) for number, row in enumerate(picked)]
        # The first one compiles what all use.
        send(external, tenant, bodies[:1])
        singly = [send(external, tenant, [body]) for body in bodies[1 : alone + 1]]
        spent = time.process_time()
        together, outcomes = send(external, tenant, bodies[alone + 1 :])
        spent = time.process_time() - spent
        found = sum(outcome.machine_id is not None for outcome in outcomes)
        right = sum(
            outcome.machine_id == row["DeviceId"]
            for outcome, row in zip(outcomes, picked[alone + 1 :], strict=True)
        )
    one = sum(seconds for seconds, _ in singly) / alone
    print(f"{len(outcomes)} alerts in one request        {together:7.2f} s   (aim {AIM_SECONDS:.0f} s)")
    print(f"time of processors                   {spent:7.2f} s")
    print(f"as many in a request each (baseline) {one * len(outcomes):7.2f} s   {1000 * one:.0f} ms each")
    print(f"ratio                                {one * len(outcomes) / together:7.1f}")
    print(f"with a device within the request     {found:7}     the right one {right}")
    return int(together > AIM_SECONDS or right < found or found < AIM_FOUND * len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
