"""Sensors on Linux machines: auditd (as our reader writes it), osquery's results, Falco and Tetragon."""

from __future__ import annotations

from shieldwall.sources.forms.form import Form, first, seconds, texts, time_of

AUDITD = Form(
    head=texts("time", "type", "node"),
    time=seconds("h.time"),
    host="h.node",
    channel="h.type",
    data="line",
    envelope=("time", "node"),
)
OSQUERY = Form(
    head=texts("unixTime", "calendarTime", "hostIdentifier", "name", "action")
    + ", decorations Tuple(hostname String)",
    time=f"coalesce({seconds('h.unixTime')}, {time_of('h.calendarTime')})",
    host=first("h.decorations.hostname", "h.hostIdentifier"),
    # A pack's name goes before the query's: pack_<pack>_<query>, or pack/<pack>/<query>.
    channel="replaceRegexpOne(h.name, '^pack[_/][^_/]+[_/]', '')",
    data="line",
    envelope=("unixTime", "calendarTime", "hostIdentifier", "epoch", "counter", "numerics", "decorations"),
)
FALCO = Form(
    head=texts("time", "hostname", "rule", "source")
    + ", output_fields Tuple(`evt.type` String, `evt.time` String)",
    time=f"coalesce({time_of('h.time')}, if(length(h.output_fields.`evt.time`) > 9, "
    "fromUnixTimestamp64Nano(toInt64OrNull(h.output_fields.`evt.time`), 'UTC'), NULL))",
    host="h.hostname",
    channel=first("h.output_fields.`evt.type`", "h.source"),
    provider="h.rule",
    data="line",
    envelope=("time", "hostname"),
)
_KINDS = (
    "process_exec",
    "process_exit",
    "process_kprobe",
    "process_tracepoint",
    "process_uprobe",
    "process_lsm",
)
TETRAGON = Form(
    head=texts("time", "node_name", *_KINDS),
    time=time_of("h.time"),
    host="h.node_name",
    channel=f"multiIf({', '.join(f'notEmpty(h.{kind}), {chr(39)}{kind}{chr(39)}' for kind in _KINDS)}, '')",
    provider=f"JSONExtractString({first(*(f'h.{kind}' for kind in _KINDS))}, 'function_name')",
    data="line",
    envelope=("time", "node_name"),
)
