"""What else an alert may be about on a device that is known: a process, a file, a name that was looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from shieldwall.detection.external.batches import Row, Window, micros, parts, whole, within
from shieldwall.detection.external.flows import Ask, Match
from shieldwall.detection.external.schema import ExternalAlert, ProcessHint
from shieldwall.telemetry.store import TelemetryStore

BEFORE = timedelta(hours=24)
AFTER = timedelta(minutes=5)
NAMES_WITHIN = timedelta(minutes=5)
STARTS_APART = 5.0
"""Seconds between two times of the start of one process."""
NAME_CUT = 15
"""Characters of a process's name that Linux keeps."""

PROCESSES = 20
"""Processes of one device with one id, the newest."""
NAME_LIMIT = 253
"""Characters of a host's name."""

_HASHES = (("SHA256", "sha256"), ("SHA1", "sha1"), ("MD5", "md5"))
_HASHED = ("DeviceFileEvents", "DeviceProcessEvents", "DeviceImageLoadEvents")
_NAMED = ("DeviceNetworkEvents", "DeviceEvents")
_QUERY = """
SELECT number, {columns} FROM (
  SELECT {columns}, {value} AS found FROM {table}
  WHERE {times} AND DeviceId IN {{devices:Array(String)}} AND {condition}
) AS seen
INNER JOIN (
  SELECT arrayJoin(arrayZip({{numbers:Array(UInt32)}}, {{devices:Array(String)}}, {{wanted:Array(String)}},
                            {{since:Array(Int64)}}, {{until:Array(Int64)}})) AS ask,
         ask.1 AS number, ask.2 AS device, ask.3 AS value, ask.4 AS first, ask.5 AS last
) AS asked ON DeviceId = device AND found = value
WHERE toUnixTimestamp64Micro(Timestamp) BETWEEN first AND last
ORDER BY number, Timestamp DESC LIMIT {limit} BY number
"""
_KEY = ("DeviceId", "Timestamp", "ReportId")


@dataclass(frozen=True)
class _Wanted:
    """A value that is looked for on a device. ``place`` is that of the alert among the others."""

    place: int
    device: str
    value: str
    window: Window


def find(store: TelemetryStore, tenant_id: str, asks: Sequence[tuple[Ask, str]]) -> list[Match | None]:
    """For each alert with its device the event there that shows best what the alert tells."""
    reader = _Reader(store, tenant_id)
    found: list[Match | None] = [None] * len(asks)
    # What tells most comes first; only what has not been found by then is looked for in the next way.
    for way in (_processes, _hashes, _names):
        left = [place for place, match in enumerate(found) if match is None]
        for place, match in way(reader, [(place, *asks[place]) for place in left]).items():
            found[place] = match
    for table in {match.table for match in found if match is not None}:
        ours = [(place, match) for place, match in enumerate(found) if match and match.table == table]
        rows = whole(store, tenant_id, table, [match.row for _, match in ours])
        for (place, match), row in zip(ours, rows, strict=True):
            found[place] = replace(match, row=row)
    return found


_Left = Sequence[tuple[int, Ask, str]]


def _processes(reader: _Reader, left: _Left) -> dict[int, Match]:
    asked = [
        (hint, _Wanted(place, device, str(hint.process_id), _window(ask)))
        for place, ask, device in left
        for hint in ask.alert.processes
        if hint.process_id
    ]
    columns = (*_KEY, "ProcessCreationTime", "FileName", "FolderPath", "ProcessId")
    rows = reader.newest(
        "DeviceProcessEvents",
        "toString(ifNull(ProcessId, 0))",
        "ProcessId IN arrayMap(each -> toInt64(each), {wanted:Array(String)})",
        [wanted for _, wanted in asked],
        columns,
        PROCESSES,
    )
    found: dict[int, Match] = {}
    for (hint, wanted), each in zip(asked, rows, strict=True):
        if wanted.place not in found and (match := _process(hint, each)):
            found[wanted.place] = match
    return found


def _hashes(reader: _Reader, left: _Left) -> dict[int, Match]:
    asked = [
        (column, _Wanted(place, device, value, _window(ask)))
        for place, ask, device in left
        for hint in (*ask.alert.files, *ask.alert.processes)
        for column, name in _HASHES
        if (value := getattr(hint, name))
    ]
    rows: dict[tuple[int, str], Row] = {}
    for column, _ in _HASHES:
        places = [number for number, (each, _) in enumerate(asked) if each == column]
        if places:
            for table in _HASHED:
                upper = "arrayMap(each -> upper(each), {wanted:Array(String)})"
                both = f"arrayConcat({{wanted:Array(String)}}, {upper})"
                wanted = [asked[number][1] for number in places]
                newest = reader.newest(table, f"lower({column})", f"{column} IN {both}", wanted)
                rows |= {(number, table): row[0] for number, row in zip(places, newest, strict=True) if row}
    found: dict[int, Match] = {}
    for number, (_, wanted_one) in enumerate(asked):
        for table in _HASHED:
            if wanted_one.place not in found and (row := rows.get((number, table))):
                found[wanted_one.place] = Match(table, row, 75, ("file hash on the device",))
    return found


def _names(reader: _Reader, left: _Left) -> dict[int, Match]:
    asked = [
        _Wanted(place, device, host, (ask.by_our_clocks - NAMES_WITHIN, ask.by_our_clocks + NAMES_WITHIN))
        for place, ask, device in left
        for host in dict.fromkeys(_hosts(ask.alert))
    ]
    condition = "lower(RemoteUrl) IN {wanted:Array(String)}"
    newest = {table: reader.newest(table, "lower(RemoteUrl)", condition, asked) for table in _NAMED}
    found: dict[int, Match] = {}
    for number, wanted in enumerate(asked):
        for table in _NAMED:
            if wanted.place not in found and (rows := newest[table][number]):
                reason = "name looked up or called on the device"
                found[wanted.place] = Match(table, rows[0], 65, (reason,))
    return found


def _window(ask: Ask) -> Window:
    return ask.by_our_clocks - BEFORE, ask.by_our_clocks + AFTER


def _process(hint: ProcessHint, rows: Sequence[Row]) -> Match | None:
    for row in rows:
        started = row["ProcessCreationTime"]
        if hint.creation_time and started:
            if abs((started - hint.creation_time).total_seconds()) > STARTS_APART:
                continue
            return Match("DeviceProcessEvents", row, 95, ("process id", "start of the process"))
        if _same_name(hint, row):
            return Match("DeviceProcessEvents", row, 85, ("process id", "name of the process"))
    return None


def _same_name(hint: ProcessHint, row: Mapping[str, Any]) -> bool:
    known = [
        str(row["FileName"]).lower(),
        str(row["FolderPath"]).replace("\\", "/").rpartition("/")[2].lower(),
    ]
    told = [name.replace("\\", "/").rpartition("/")[2].lower() for name in (hint.path, hint.name) if name]
    return any(name and name[:NAME_CUT] == other[:NAME_CUT] for name in told for other in known)


def _hosts(alert: ExternalAlert) -> Iterator[str]:
    for name in (alert.network.domain, alert.network.sni):
        if name and len(name) <= NAME_LIMIT:
            yield name.rstrip(".").lower()


class _Reader:
    """Reads events of devices, for many values in one statement."""

    def __init__(self, store: TelemetryStore, tenant_id: str) -> None:
        self._store = store
        self._tenant_id = tenant_id

    def newest(
        self,
        table: str,
        value: str,
        condition: str,
        asked: Sequence[_Wanted],
        columns: Sequence[str] = _KEY,
        limit: int = 1,
    ) -> list[list[Row]]:
        """For each that is asked for, the newest events whose ``value`` it is; ``condition`` says the same of
        all of them by an index."""
        found: list[list[Row]] = [[] for _ in asked]
        names = ", ".join(f"`{name}`" for name in columns)
        for part in parts(list(enumerate(asked))):
            times, values = within(wanted.window for _, wanted in part)
            sql = _QUERY.format(
                columns=names, value=value, table=table, times=times, condition=condition, limit=limit
            )
            rows = self._store.query(
                self._tenant_id,
                sql,
                {
                    **values,
                    "numbers": [number for number, _ in part],
                    "devices": [wanted.device for _, wanted in part],
                    "wanted": [wanted.value for _, wanted in part],
                    "since": [micros(wanted.window[0]) for _, wanted in part],
                    "until": [micros(wanted.window[1]) for _, wanted in part],
                },
            )
            for row in rows:
                found[row.pop("number")].append(row)
        return found
