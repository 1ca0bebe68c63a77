"""The process tree around an event: up to the root and down to the leaves, from stored events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import to_text

NODES_LIMIT = 500
LEVELS_UP = 32
LEVELS_DOWN = 32
RELATED_LEVELS = 3
"""What the process, its parent and grandparent started is shown; of ancestors above, only the way."""
EVENTS_LIMIT = 20
"""Most other events of one kind shown for one process."""
TEXT_LIMIT = 500
_EVENTS = (
    (
        "DeviceNetworkEvents",
        "network",
        "if(RemoteUrl != '', RemoteUrl, concat(RemoteIP, ':', toString(RemotePort)))",
    ),
    ("DeviceFileEvents", "file", "FolderPath"),
    (
        "DeviceRegistryEvents",
        "registry",
        "if(RegistryValueName != '', concat(RegistryKey, ' ', RegistryValueName), RegistryKey)",
    ),
    ("DeviceEvents", "other", "if(RemoteUrl != '', RemoteUrl, if(FolderPath != '', FolderPath, RemoteIP))"),
)
"""Tables of what processes do, with the SQL for what about."""
NEAR = timedelta(seconds=2)
"""Two starts of one pid this close are one process: sources date it a little differently."""

Identity = tuple[int, datetime]


@dataclass(frozen=True)
class NodeEvent:
    """What a process did besides starting others: an action on one file, address or registry key."""

    action_type: str
    text: str
    kind: str
    """file, network, registry or other."""
    first_time: datetime
    count: int

    def to_json(self) -> dict[str, Any]:
        return {
            "actionType": self.action_type,
            "text": self.text,
            "kind": self.kind,
            "time": to_text(self.first_time),
            "count": self.count,
        }


@dataclass
class ProcessNode:
    """One process of the tree, with what it did."""

    process_id: int
    creation_time: datetime
    file_name: str = ""
    folder_path: str = ""
    command_line: str = ""
    account_name: str = ""
    sha256: str = ""
    parent: Identity | None = None
    children: list[ProcessNode] = field(default_factory=list)
    events: list[NodeEvent] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    """Titles."""
    alert_ids: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Identity:
        return (self.process_id, self.creation_time)

    def is_process(self, process_id: int | None, started: datetime | None) -> bool:
        return (
            process_id == self.process_id and started is not None and abs(started - self.creation_time) < NEAR
        )

    def to_json(self) -> dict[str, Any]:
        """As the API writes it."""
        return {
            "processId": self.process_id,
            "creationTime": to_text(self.creation_time),
            "fileName": self.file_name,
            "folderPath": self.folder_path,
            "commandLine": self.command_line,
            "accountName": self.account_name,
            "sha256": self.sha256,
            "alerts": self.alerts,
            "alertIds": self.alert_ids,
            "events": [event.to_json() for event in self.events],
            "children": [
                child.to_json()
                for child in sorted(self.children, key=lambda child: (child.creation_time, child.process_id))
            ],
        }


def process_tree(
    store: TelemetryStore, tenant_id: str, device_id: str, process_id: int, creation_time: datetime
) -> ProcessNode | None:
    """The tree that a process is in; None when nothing is stored of it. At most ``NODES_LIMIT`` processes."""
    reader = _Reader(store, tenant_id, device_id)
    start = reader.find(process_id, creation_time)
    if start is None:
        return None
    path = [start]
    for _ in range(LEVELS_UP):
        # Process 1 is everybody's ancestor, and its other children are another story.
        if path[-1].parent is None or path[-1].parent[0] in (0, 1):
            break
        above = reader.find(*path[-1].parent)
        if above is None or any(above.is_process(*node.identity) for node in path):
            break
        above.children.append(path[-1])
        path.append(above)
    near = path[:RELATED_LEVELS]
    _grow(reader, near)
    reader.add_events(list(walk(near[-1])))
    return path[-1]


def walk(node: ProcessNode) -> Iterable[ProcessNode]:
    """The node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def _grow(reader: _Reader, start: list[ProcessNode]) -> None:
    """Add the children of ``start`` and theirs, level by level, until there are none or enough."""
    level, count = start, len(start)
    for _ in range(LEVELS_DOWN):
        below: list[ProcessNode] = []
        for child in reader.children(level):
            parent = next((node for node in level if child.parent and node.is_process(*child.parent)), None)
            known = parent and any(
                other.is_process(child.process_id, child.creation_time) for other in parent.children
            )
            if parent is None or known or count >= NODES_LIMIT:
                continue
            parent.children.append(child)
            below.append(child)
            count += 1
        if not below or count >= NODES_LIMIT:
            return
        level = below


class _Reader:
    """Reads processes of one device from the hunting tables."""

    def __init__(self, store: TelemetryStore, tenant_id: str, device_id: str) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._device_id = device_id

    def find(self, process_id: int, started: datetime) -> ProcessNode | None:
        """A process by what was told when it was created, or by what its own doings tell of it."""
        near = {"pid": process_id, "from": started - NEAR, "to": started + NEAR}
        rows = self._rows(
            "DeviceProcessEvents",
            "ProcessId = {pid:Int64} AND ProcessCreationTime BETWEEN {from:DateTime64(7)} AND "
            "{to:DateTime64(7)} ORDER BY Timestamp DESC LIMIT 1",
            near,
        )
        if rows:
            return _created(rows[0])
        for table in ("DeviceProcessEvents", "DeviceNetworkEvents", "DeviceFileEvents", "DeviceEvents"):
            rows = self._rows(
                table,
                "InitiatingProcessId = {pid:Int64} AND InitiatingProcessCreationTime BETWEEN "
                "{from:DateTime64(7)} AND {to:DateTime64(7)} ORDER BY Timestamp DESC LIMIT 1",
                near,
            )
            if rows:
                return _actor(rows[0])
        return None

    def children(self, parents: Sequence[ProcessNode]) -> list[ProcessNode]:
        """Processes that these created, in the order in which they came."""
        rows = self._rows(
            "DeviceProcessEvents",
            "InitiatingProcessId IN {pids:Array(Int64)} AND Timestamp >= {since:DateTime64(7)} "
            f"ORDER BY Timestamp LIMIT {NODES_LIMIT * 4}",
            {
                "pids": [node.process_id for node in parents],
                "since": min(node.creation_time for node in parents) - NEAR,
            },
        )
        return [_created(row) for row in rows if row["ProcessId"] and row["ProcessCreationTime"]]

    def add_events(self, nodes: Sequence[ProcessNode]) -> None:
        """What the processes did besides creating others."""
        since = min(node.creation_time for node in nodes) - NEAR
        values = {"pids": sorted({node.process_id for node in nodes}), "since": since}
        for table, kind, text in _EVENTS:
            rows = self._store.query(
                self._tenant_id,
                "SELECT InitiatingProcessId, InitiatingProcessCreationTime, ActionType, "
                f"left(ifNull({text}, ''), {TEXT_LIMIT}) AS Text, min(Timestamp) AS First, count() AS Count "
                f"FROM {DATABASE}.{table} WHERE DeviceId = {{device:String}} "
                "AND InitiatingProcessId IN {pids:Array(Int64)} AND Timestamp >= {since:DateTime64(7)} "
                "GROUP BY InitiatingProcessId, InitiatingProcessCreationTime, ActionType, Text "
                f"ORDER BY First, Text LIMIT {EVENTS_LIMIT} BY InitiatingProcessId LIMIT {NODES_LIMIT * 4}",
                {"device": self._device_id, **_naive(values)},
            )
            for row in rows:
                started = row["InitiatingProcessCreationTime"]
                for node in nodes:
                    if node.is_process(row["InitiatingProcessId"], started):
                        done = NodeEvent(row["ActionType"], row["Text"], kind, row["First"], row["Count"])
                        node.events.append(done)
                        break
        for node in nodes:
            node.events.sort(key=lambda event: event.first_time)

    def _rows(self, table: str, condition: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._store.query(
            self._tenant_id,
            f"SELECT * FROM {DATABASE}.{table} WHERE DeviceId = {{device:String}} AND {condition}",
            {"device": self._device_id, **_naive(values)},
        )


def _created(row: Mapping[str, Any]) -> ProcessNode:
    return ProcessNode(
        row["ProcessId"],
        row["ProcessCreationTime"],
        row["FileName"],
        row["FolderPath"],
        row["ProcessCommandLine"],
        row["AccountName"],
        row["SHA256"],
        _identity(row["InitiatingProcessId"], row["InitiatingProcessCreationTime"]),
    )


def _actor(row: Mapping[str, Any]) -> ProcessNode:
    return ProcessNode(
        row["InitiatingProcessId"],
        row["InitiatingProcessCreationTime"],
        row["InitiatingProcessFileName"],
        row["InitiatingProcessFolderPath"],
        row["InitiatingProcessCommandLine"],
        row["InitiatingProcessAccountName"],
        row["InitiatingProcessSHA256"],
        _identity(row["InitiatingProcessParentId"], row["InitiatingProcessParentCreationTime"]),
    )


def _identity(process_id: int | None, started: datetime | None) -> Identity | None:
    return (process_id, started) if process_id and started else None


def _naive(values: Mapping[str, Any]) -> dict[str, Any]:
    """Times as the engine's parameters take them: UTC without a zone."""
    return {
        name: value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value
        for name, value in values.items()
    }
