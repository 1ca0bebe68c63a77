"""JSON that is no known sensor's: kept whole, with the time and the machine that common names tell."""

from __future__ import annotations

from shieldwall.sources.forms.form import Form, first, seconds, texts, time_of

_TIMES = (
    "@timestamp", "timestamp", "Timestamp", "TimeGenerated", "time", "Time", "eventTime", "EventTime",
    "TimeCreated", "CreationTime", "createdDateTime", "activityDateTime", "ts", "date",
)  # fmt: skip
_HOSTS = (
    "Computer", "DeviceName", "hostname", "Hostname", "HostName", "host_name", "computer_name", "host",
    "node",
)  # fmt: skip
_CHANNELS = ("Type", "Category", "eventName", "event_type", "type", "Operation", "OperationName", "category")

GENERIC = Form(
    head=texts(*dict.fromkeys((*_TIMES, *_HOSTS, *_CHANNELS))),
    time="coalesce("
    + ", ".join(f"{time_of(f'h.`{name}`')}" for name in _TIMES)
    + ", "
    + ", ".join(seconds(f"h.`{name}`") for name in ("time", "ts", "timestamp"))
    + ")",
    host=first(*(f"if(startsWith(h.`{name}`, '{{'), '', h.`{name}`)" for name in _HOSTS)),
    channel=first(*(f"substring(h.`{name}`, 1, 100)" for name in _CHANNELS)),
    data="line",
    platform="",
)
