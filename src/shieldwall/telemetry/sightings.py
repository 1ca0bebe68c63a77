"""Where and when the stored events of a tenant name a file, an address, a host or an account."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore

HOURS_LIMIT = 720
DEVICES_LIMIT = 10_000
NAMES = 10
HASHES = {40: "SHA1", 64: "SHA256", 32: "MD5"}
"""The column of a hash by the number of its hex digits."""

_ACTOR = "InitiatingProcess"
_FILE_TABLES = ("DeviceFileEvents", "DeviceProcessEvents", "DeviceImageLoadEvents", "DeviceEvents")
_ACTOR_TABLES = (*_FILE_TABLES, "DeviceNetworkEvents", "DeviceRegistryEvents", "DeviceLogonEvents")
_RECENT = "Timestamp >= now64(7) - toIntervalHour({hours:UInt32})"
_HOST_TABLES = ("DeviceNetworkEvents", "DeviceEvents")
_ADDRESS_TABLES = ("DeviceNetworkEvents", "DeviceEvents", "DeviceLogonEvents")
# Of what a URL's authority may have around the host.
_HOST = "lower(extract(RemoteUrl, '^(?:[A-Za-z][A-Za-z0-9+.-]*://)?(?:[^/?#@]*@)?([^/?#:@]+)'))"


@dataclass(frozen=True)
class Sightings:
    """On which devices something was seen, the most often first; times are None where it never was."""

    devices: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class SeenFile:
    """What the events tell of one file; empty texts and None where they tell nothing."""

    sightings: Sightings
    sha1: str
    sha256: str
    md5: str
    size: int | None
    company: str
    product: str
    names: list[str]


@dataclass(frozen=True)
class Signature:
    """The newest signature that a device reported of a file."""

    signer: str
    issuer: str
    signer_hash: str
    trusted: bool | None


def file(store: TelemetryStore, tenant_id: str, digest: str, hours: int = HOURS_LIMIT) -> SeenFile | None:
    """A file by its SHA-1, SHA-256 or MD5, in lower case; None if no event names it."""
    found = store.query(
        tenant_id,
        "SELECT uniqExact(device) AS devices, min(time) AS first, max(time) AS last, "
        "argMaxIf(sha1, time, sha1 != '') AS sha1, argMaxIf(sha256, time, sha256 != '') AS sha256, "
        "argMaxIf(md5, time, md5 != '') AS md5, argMaxIf(size, time, size IS NOT NULL) AS size, "
        "argMaxIf(company, time, company != '') AS company, "
        "argMaxIf(product, time, product != '') AS product, "
        f"topKIf({NAMES})(name, name != '') AS names FROM ({_files(digest)})",
        _digest(digest, hours),
    )[0]
    if not found["devices"]:
        return None
    return SeenFile(
        Sightings(found["devices"], found["first"], found["last"]),
        found["sha1"].lower(),
        found["sha256"].lower(),
        found["md5"].lower(),
        found["size"],
        found["company"],
        found["product"],
        list(found["names"]),
    )


def signature(store: TelemetryStore, tenant_id: str, sha1: str) -> Signature | None:
    rows = store.query(
        tenant_id,
        "SELECT Signer, Issuer, SignerHash, IsTrusted FROM DeviceFileCertificateInfo "
        "WHERE SHA1 IN ({digest:String}, upper({digest:String})) ORDER BY Timestamp DESC LIMIT 1",
        {"digest": sha1},
    )
    if not rows:
        return None
    row = rows[0]
    return Signature(row["Signer"], row["Issuer"], row["SignerHash"], row["IsTrusted"])


def file_devices(store: TelemetryStore, tenant_id: str, digest: str) -> Sequence[str]:
    return _devices(store, tenant_id, _files(digest), _digest(digest, HOURS_LIMIT))


def address(store: TelemetryStore, tenant_id: str, ip: str, hours: int = HOURS_LIMIT) -> Sightings:
    """Devices that had to do with an address as their peer."""
    source = " UNION ALL ".join(
        f"SELECT DeviceId AS device, Timestamp AS time FROM {table} "
        f"WHERE RemoteIP IN ({{value:String}}, {{mapped:String}}) AND {_RECENT}"
        for table in _ADDRESS_TABLES
    )
    mapped = f"::ffff:{ip}" if "." in ip else ip
    return _sightings(store, tenant_id, source, {"value": ip, "mapped": mapped, "hours": hours})


def host(store: TelemetryStore, tenant_id: str, name: str, hours: int = HOURS_LIMIT) -> Sightings:
    """Devices that looked up or called a host; its subdomains are hosts of their own."""
    return _sightings(store, tenant_id, _hosts(), _host(name, hours))


def host_devices(store: TelemetryStore, tenant_id: str, name: str) -> Sequence[str]:
    return _devices(store, tenant_id, _hosts(), _host(name, HOURS_LIMIT))


def account_devices(store: TelemetryStore, tenant_id: str, name: str) -> Sequence[str]:
    """Devices on which an account logged on."""
    source = (
        "SELECT DeviceId AS device, Timestamp AS time FROM DeviceLogonEvents "
        f"WHERE lower(AccountName) = lower({{value:String}}) AND {_RECENT}"
    )
    return _devices(store, tenant_id, source, {"value": name, "hours": HOURS_LIMIT})


def _sightings(store: TelemetryStore, tenant_id: str, source: str, parameters: dict[str, Any]) -> Sightings:
    found = store.query(
        tenant_id,
        f"SELECT uniqExact(device) AS devices, min(time) AS first, max(time) AS last FROM ({source})",
        parameters,
    )[0]
    seen = found["devices"] > 0
    return Sightings(found["devices"], found["first"] if seen else None, found["last"] if seen else None)


def _devices(store: TelemetryStore, tenant_id: str, source: str, parameters: dict[str, Any]) -> Sequence[str]:
    rows = store.query(
        tenant_id,
        f"SELECT device FROM ({source}) GROUP BY device ORDER BY count() DESC, device LIMIT {DEVICES_LIMIT}",
        parameters,
    )
    return [row["device"] for row in rows]


def _host(name: str, hours: int) -> dict[str, Any]:
    tokens = [token for token in re.split("[^0-9A-Za-z]+", name) if token]
    return {"value": name, "tokens": tokens, "hours": hours}


def _digest(digest: str, hours: int) -> dict[str, Any]:
    return {"digest": digest, "hours": hours}


def _files(digest: str) -> str:
    """Every event that names the file, as what it acted on or as the process that acted."""
    column = HASHES[len(digest)]
    acted_on = (_file_rows(table, column, "", "ProcessVersionInfo") for table in _FILE_TABLES)
    actors = (_file_rows(table, column, _ACTOR, f"{_ACTOR}VersionInfo") for table in _ACTOR_TABLES)
    return " UNION ALL ".join([*acted_on, *actors])


def _file_rows(table: str, column: str, prefix: str, version: str) -> str:
    known = TABLES[table]

    def read(name: str, otherwise: str) -> str:
        return name if known.has(name) else otherwise

    return (
        f"SELECT DeviceId AS device, Timestamp AS time, {prefix}SHA1 AS sha1, {prefix}SHA256 AS sha256, "
        f"{read(f'{prefix}MD5', _EMPTY)} AS md5, {read(f'{prefix}FileName', _EMPTY)} AS name, "
        f"{read(f'{prefix}FileSize', _NO_NUMBER)} AS size, "
        f"{read(f'{version}CompanyName', _EMPTY)} AS company, "
        f"{read(f'{version}ProductName', _EMPTY)} AS product FROM {table} "
        f"WHERE {prefix}{column} IN ({{digest:String}}, upper({{digest:String}})) AND {_RECENT}"
    )


def _hosts() -> str:
    return " UNION ALL ".join(
        f"SELECT DeviceId AS device, Timestamp AS time FROM {table} "
        # The text index serves the first condition; the second is the exact one.
        f"WHERE hasAllTokens(lower(RemoteUrl), {{tokens:Array(String)}}) AND {_HOST} = {{value:String}} "
        f"AND {_RECENT}"
        for table in _HOST_TABLES
    )


_EMPTY = "''"
_NO_NUMBER = "CAST(NULL AS Nullable(Int64))"
