"""Where telemetry goes: every sensor and responder emits plain dictionaries to a `Sink`.

An event names its hunting table under `Table`, and that table's columns beside it. `Timestamp` (ISO 8601,
UTC) is the time of the thing itself. The sink sets `ReportId`, and `Timestamp` where it is missing. The
server sets the device.
"""

import itertools
import json
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

Event = dict[str, Any]

LARGEST_EVENT = 200_000  # bytes as one NDJSON line; the server bounds lines too

_EPOCH_OF_REPORT_IDS = 1_735_689_600  # 2025-01-01, so that ids stay below 2**53
_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), default=str, check_circular=False
).encode


class Sink(Protocol):
    """Takes events from any thread; never blocks for long and never raises."""

    def emit(self, event: Event) -> None: ...


def timestamp(seconds: float | None = None) -> str:
    """Unix seconds (now by default) as the ISO 8601 UTC text of every event, with microseconds."""
    moment = time.time() if seconds is None else seconds
    second, microsecond = divmod(round(moment * 1e6), 1_000_000)
    return f"{_second(second)}.{microsecond:06}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    """Kept, because formatting a date costs more than all else of an event's times."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def events_lost(sensor: str, count: int, reason: str) -> Event:
    """The event by which every loss (ring drops, queue overflow, spool bound) reaches the server."""
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(),
        "ActionType": "SensorEventsLost",
        "AdditionalFields": {"Sensor": sensor, "Count": count, "Reason": reason},
    }


class ReportIds:
    """Rising ids, unique on the device over restarts with nothing kept: start time, then a counter."""

    def __init__(self) -> None:
        milliseconds = max(0, int((time.time() - _EPOCH_OF_REPORT_IDS) * 1000))
        self._ids = itertools.count(milliseconds << 10)  # room for a million events a second

    def next(self) -> int:
        return next(self._ids)


def encode_line(event: Event) -> bytes:
    """One event as an NDJSON line with its newline. Bytes of file names that are no UTF-8 become `?`."""
    text = _encode(event)
    try:
        line = text.encode()
    except UnicodeEncodeError:  # lone surrogates of os.fsdecode
        line = text.encode("utf-8", "replace")
    return line + b"\n"
