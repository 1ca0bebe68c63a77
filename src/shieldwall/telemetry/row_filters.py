"""Which rows of a hunting table a caller may read, as a condition that ClickHouse adds to each read of it."""

from __future__ import annotations

from shieldwall.state.scope import DeviceScope, Reach
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.schema import Table

_KNOWLEDGE = ("KB", "Profiles")
"""How names of tables end that tell of no device, and nothing that one could not read elsewhere."""


def row_filter(table: Table, tenant: str, reach: Reach) -> str:
    """The condition for a tenant's rows, and where the caller is limited, for those of the devices reached.

    A row's own device group counts where the table tells it, which is what that column is documented for. A
    table that tells of no device at all is for those who may see every device.
    """
    owned = f"TenantId = {literal(tenant)}"
    if reach is None or table.name.endswith(_KNOWLEDGE):
        return owned
    columns = {column.name for column in table.columns}
    if "MachineGroup" in columns:
        return f"{owned} AND {_grouped(reach)}"
    if "DeviceId" in columns:
        devices = f"SELECT DeviceId FROM {DATABASE}.DeviceInfo WHERE {owned} AND {_grouped(reach)}"
        return f"{owned} AND DeviceId IN ({devices})"
    return "0"


def literal(text: str) -> str:
    """A string of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _grouped(reach: DeviceScope) -> str:
    names = ", ".join(literal(name) for name in sorted(reach.names))
    return f"MachineGroup IN ({names})" if names else "0"
