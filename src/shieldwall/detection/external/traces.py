"""What else an alert may be about on a device that is known: a process, a file, a name that was looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta
from typing import Any

from shieldwall.detection.external.flows import Match
from shieldwall.detection.external.schema import ExternalAlert, ProcessHint
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore

BEFORE = timedelta(hours=24)
AFTER = timedelta(minutes=5)
NAMES_WITHIN = timedelta(minutes=5)
STARTS_APART = 5.0
"""Seconds between two times of the start of one process."""
NAME_CUT = 15
"""Characters of a process's name that Linux keeps."""

_ON_DEVICE = (
    "DeviceId = {device:String} AND Timestamp BETWEEN {since:DateTime64(7)} AND {until:DateTime64(7)}"
)
_HASHES = (("SHA256", "sha256"), ("SHA1", "sha1"), ("MD5", "md5"))


def find(
    store: TelemetryStore, tenant_id: str, device_id: str, alert: ExternalAlert, skew: float
) -> Match | None:
    """The event on the device that shows best what the alert tells."""
    moment = alert.time - timedelta(seconds=skew)
    times = {"since": moment - BEFORE, "until": moment + AFTER}
    reader = _Reader(store, tenant_id, {"device": device_id, **times})
    for process in alert.processes:
        if match := _process(reader, process):
            return match
    for hint in (*alert.files, *alert.processes):
        for column, name in _HASHES:
            if value := getattr(hint, name):
                for table in ("DeviceFileEvents", "DeviceProcessEvents", "DeviceImageLoadEvents"):
                    condition = f"{column} IN ({{value:String}}, upper({{value:String}}))"
                    if row := reader.newest(table, condition, value=value):
                        return Match(table, row, 75, ("file hash on the device",))
    near = reader.within(moment - NAMES_WITHIN, moment + NAMES_WITHIN)
    for host in dict.fromkeys(_hosts(alert)):
        for table in ("DeviceNetworkEvents", "DeviceEvents"):
            if row := near.newest(table, "lower(RemoteUrl) = {host:String}", host=host):
                return Match(table, row, 65, ("name looked up or called on the device",))
    return None


def _process(reader: _Reader, hint: ProcessHint) -> Match | None:
    if not hint.process_id:
        return None
    rows = reader.rows("DeviceProcessEvents", "ProcessId = {process:Int64}", 20, process=hint.process_id)
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
        if name:
            yield name.rstrip(".").lower()


class _Reader:
    """Reads events of one device in one span of time."""

    def __init__(self, store: TelemetryStore, tenant_id: str, parameters: dict[str, Any]) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._parameters = parameters

    def within(self, since: Any, until: Any) -> _Reader:
        return _Reader(self._store, self._tenant_id, {**self._parameters, "since": since, "until": until})

    def rows(self, table: str, condition: str, limit: int, **values: Any) -> list[dict[str, Any]]:
        """The newest first."""
        columns = ", ".join(f"`{column.name}`" for column in TABLES[table].columns)
        plain = {
            name: self._parameters[name].astimezone(UTC).replace(tzinfo=None) for name in ("since", "until")
        }
        return self._store.query(
            self._tenant_id,
            f"SELECT {columns} FROM {table} WHERE {_ON_DEVICE} AND {condition} "
            f"ORDER BY Timestamp DESC LIMIT {limit}",
            {**self._parameters, **plain, **values},
        )

    def newest(self, table: str, condition: str, **values: Any) -> dict[str, Any] | None:
        return next(iter(self.rows(table, condition, 1, **values)), None)
