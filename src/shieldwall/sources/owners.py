"""Which device had an address at the time of a record, from the devices' own reports of their addresses."""

from __future__ import annotations

from shieldwall.telemetry.ddl import DATABASE

OWNERS_LIMIT = 30_000
BEFORE = 3600 * 1000
"""Milliseconds that an address counts before the report of it: a device reports after it has one."""
AFTER = 25 * 3600 * 1000
"""And after the last report of it."""

OWNER = "tenant String, address String, since Int64, owner String, owner_name String, owner_group String"
"""Columns of the table of owners; ``since`` in milliseconds."""


def reported(lines: str) -> str:
    """The SELECT of tenant, address, ``since`` and DeviceId for the addresses of staged lines."""
    moment = "toUnixTimestamp64Milli(Timestamp)"
    times = f"FROM {lines} WHERE reason = '' AND address != ''"
    return (
        f"SELECT TenantId, address, {moment} - {BEFORE} AS since, DeviceId FROM {DATABASE}.DeviceNetworkInfo "
        "ARRAY JOIN arrayDistinct(arrayMap(a -> JSONExtractString(a, 'IPAddress'), "
        "JSONExtractArrayRaw(IPAddresses))) AS address "
        f"WHERE (TenantId, address) IN (SELECT tenant, address {times}) "
        f"AND {moment} >= (SELECT min(toUnixTimestamp64Milli(time)) {times}) - {AFTER} "
        f"AND {moment} <= (SELECT max(toUnixTimestamp64Milli(time)) {times}) + {BEFORE} "
        f"ORDER BY since DESC LIMIT {OWNERS_LIMIT}"
    )


def joined(owners: str) -> str:
    """The join of staged ``lines`` with the newest owner of their address before them."""
    return (
        f"ASOF LEFT JOIN {owners} AS owners "
        "ON lines.tenant = owners.tenant AND lines.address = owners.address "
        "AND toUnixTimestamp64Milli(lines.time) >= owners.since"
    )


def choice(owned: str, named: str) -> str:
    """The owner's column where there is one, else the column of the device that is named."""
    fresh = f"toUnixTimestamp64Milli(lines.time) - owners.since <= {BEFORE + AFTER}"
    return f"if(notEmpty(owners.owner) AND {fresh}, owners.{owned}, devices.{named})"
