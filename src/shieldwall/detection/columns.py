"""Which columns of which hunting tables are compared with which indicators."""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.telemetry.schema import TABLES, Table

ACTOR = "InitiatingProcess"

_HASHES = {"SHA256": "FileSha256", "SHA1": "FileSha1", "MD5": "FileMd5"}
_ADDRESSES = ("RemoteIP", "FileOriginIP")
_URLS = ("RemoteUrl", "FileOriginUrl")


@dataclass(frozen=True)
class Compared:
    """A column and the indicator type of its values; ``names`` for URLs, which domains may cover too."""

    column: str
    kind: str

    @property
    def names(self) -> bool:
        return self.kind == "Url"

    @property
    def of_actor(self) -> bool:
        """Whether the value is of the process that acted, rather than of what it acted on."""
        return self.column.startswith(ACTOR)


def compared(table: Table) -> tuple[Compared, ...]:
    """The comparisons of one table."""
    found = [
        Compared(f"{prefix}{column}", kind) for prefix in ("", ACTOR) for column, kind in _HASHES.items()
    ]
    found += [Compared(column, "IpAddress") for column in _ADDRESSES]
    found += [Compared(column, "Url") for column in _URLS]
    return tuple(item for item in found if table.has(item.column))


MATCHED_TABLES = {
    name: comparisons
    for name, table in TABLES.items()
    if table.from_agents and table.has("ActionType") and (comparisons := compared(table))
}

EVIDENCE_COLUMNS = (
    "Timestamp",
    "DeviceId",
    "ActionType",
    "FileName",
    "FolderPath",
    "ProcessId",
    "ProcessCommandLine",
    "ProcessCreationTime",
    "AccountName",
    "AccountDomain",
    "AdditionalFields",
    "MachineGroup",
    "InitiatingProcessId",
    "InitiatingProcessFileName",
    "InitiatingProcessFolderPath",
    "InitiatingProcessCommandLine",
    "InitiatingProcessCreationTime",
    "InitiatingProcessAccountName",
    "InitiatingProcessAccountDomain",
    "InitiatingProcessParentId",
    "InitiatingProcessParentFileName",
    "InitiatingProcessParentCreationTime",
)
"""What alerts tell of an event besides the compared columns."""


def selected(table: Table) -> tuple[str, ...]:
    """Columns of a hit that are read."""
    wanted = (*EVIDENCE_COLUMNS, *(item.column for item in MATCHED_TABLES[table.name]))
    return tuple(dict.fromkeys(name for name in wanted if table.has(name)))
