"""Events as rows of SourceEvents, on the embedded engine of the test run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson
import pytest

from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.sigma.conversion import Converted, Converter
from shieldwall.detection.sigma.parsing import File
from shieldwall.detection.sigma.pipeline import Placeholders
from shieldwall.telemetry.hunting import Hunting, Limits
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

Run = Callable[[str, str], list[dict[str, Any]]]
"""The rows that a query gives to a tenant."""
StoreEvents = Callable[[Sequence[Mapping[str, Any]]], str]
"""Stores events and gives their tenant."""


@pytest.fixture(scope="session")
def run(telemetry: TelemetryStore) -> Run:
    hunting = Hunting(telemetry)

    def run(tenant: str, query: str) -> list[dict[str, Any]]:
        with hunting.hunt(tenant, query, Limits()) as hunt:
            names = [name for name, _ in hunt.columns]
            return [dict(zip(names, row, strict=True)) for row in hunt.rows]

    return run


@pytest.fixture(scope="session")
def store_events(telemetry: TelemetryStore) -> StoreEvents:
    """Stores records of a Windows channel, each with its number as ReportId, for a tenant of their own."""

    def store(events: Sequence[Mapping[str, Any]]) -> str:
        tenant = str(uuid4())
        rows = []
        for number, event in enumerate(events):
            data = {name: value for name, value in event.items() if name not in _HEAD}
            rows.append(
                {
                    "Timestamp": event.get("Timestamp", now()),
                    "DeviceId": event.get("DeviceId", "d" * 40),
                    "DeviceName": "host1",
                    "Source": "windows",
                    "Channel": event.get("Channel", "Security"),
                    "EventId": event.get("EventID", 1),
                    "Provider": event.get("Provider_Name", "Test"),
                    "EventData": orjson.dumps(data).decode(),
                    "ReportId": number,
                }
            )
        telemetry.insert_rows("SourceEvents", tenant, rows)
        return tenant

    return store


_HEAD = ("Timestamp", "DeviceId", "Channel", "EventID", "Provider_Name")


def convert(*texts: str, placeholders: Placeholders | None = None) -> Converted:
    """What rules come to, each text a file of its own."""
    files = [File(f"{number}.yml", text.encode()) for number, text in enumerate(texts)]
    return Converter(placeholders).convert(files)


def only(*texts: str, placeholders: Placeholders | None = None) -> Rule:
    """The one rule that texts come to."""
    found = convert(*texts, placeholders=placeholders)
    assert not found.refused, found.refused
    (rule,) = found.rules
    return rule
