"""The connection that an alert is about, among those that agents reported: by its ends, and by its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Literal

from shieldwall.detection.external.schema import ExternalAlert, Network
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore

TABLE = "DeviceNetworkEvents"
ROWS_LIMIT = 200
BEFORE = timedelta(hours=6)
"""How long a connection may have been open before its alert."""
AFTER = timedelta(minutes=15)
"""How far a sensor's clock may be behind."""
NEAR = 300.0
"""Seconds apart beyond which only the very same ports tell that alert and connection belong together."""
CLOSE_TO = 10
"""Candidates whose scores differ by less cannot be told apart."""

_STEPS = ((2.0, 15), (10.0, 12), (60.0, 8), (NEAR, 4))
"""Points for a connection that is no more than so many seconds away."""
_TRANSPORT = frozenset({"tcp", "udp"})
_COLUMNS = ", ".join(f"`{column.name}`" for column in TABLES[TABLE].columns)
# A device shows the other end as its remote one: which end it is itself is to be found.
_QUERY = f"""
SELECT {_COLUMNS} FROM {TABLE}
WHERE Timestamp BETWEEN {{since:DateTime64(7)}} AND {{until:DateTime64(7)}}
  AND ActionType != 'ListeningConnectionCreated'
  AND ((RemoteIP IN {{destinations:Array(String)}} AND RemotePort = {{destination_port:Int64}})
    OR (RemoteIP IN {{sources:Array(String)}} AND LocalPort = {{destination_port:Int64}}
        AND ({{source_port:Int64}} = -1 OR RemotePort = {{source_port:Int64}})))
ORDER BY (LocalPort = {{source_port:Int64}} OR RemotePort = {{source_port:Int64}}) DESC,
         abs(toUnixTimestamp64Milli(Timestamp) - {{moment:Int64}}), ReportId
LIMIT {ROWS_LIMIT}
"""

Side = Literal["source", "destination"]


@dataclass(frozen=True)
class Match:
    """An event that an alert may be about. ``score`` is 0 to 100, ``reasons`` say what it is made of."""

    table: str
    row: Mapping[str, Any]
    score: int
    reasons: tuple[str, ...]
    side: Side = "source"
    """Which end of the connection the device is."""
    exact: bool = False
    """Whether addresses and ports of both ends are the same, so that it tells how far clocks differ."""
    offset: float = 0.0
    """Seconds that the alert's time is ahead of the event's."""

    @property
    def device_id(self) -> str:
        return str(self.row["DeviceId"])

    @property
    def process(self) -> tuple[Any, ...]:
        return (
            self.device_id,
            self.row.get("InitiatingProcessId"),
            self.row.get("InitiatingProcessCreationTime"),
        )


def find(
    store: TelemetryStore,
    tenant_id: str,
    alert: ExternalAlert,
    skew: float,
    hinted: Iterable[str],
    behind: frozenset[str],
) -> list[Match]:
    """Connections that the alert may be about, the likeliest first.

    ``skew`` is how many seconds its sensor's clock is known to be ahead. ``hinted`` are the devices that the
    alert names, ``behind`` those behind a gateway with its source address.
    """
    network = alert.network
    if network.destination_port is None or not (network.destination_address or network.source_address):
        return []
    told = network.start_time or alert.time
    moment = told - timedelta(seconds=skew)
    source_port = network.source_port if network.source_port is not None else network.translated_source_port
    rows = store.query(
        tenant_id,
        _QUERY,
        {
            "since": _plain(moment - (AFTER if network.start_time else BEFORE)),
            "until": _plain(moment + AFTER),
            "moment": int(moment.timestamp() * 1000),
            "destinations": list(both_forms(network.destination_address)),
            "sources": list(both_forms(network.source_address)),
            "destination_port": network.destination_port,
            "source_port": -1 if source_port is None else source_port,
        },
    )
    names = frozenset(hinted)
    found = [match for row in rows for match in _scored(row, network, told, moment, names, behind)]
    return sorted(found, key=lambda match: (-match.score, abs(match.offset - skew)))


def clear(matches: Sequence[Match]) -> tuple[Match | None, bool]:
    """The match that stands out, and whether its process does; none where two devices fit as well."""
    if not matches:
        return None, False
    best = matches[0]
    rivals = [match for match in matches if best.score - match.score < CLOSE_TO and match.side == best.side]
    if any(match.device_id != best.device_id for match in rivals):
        return None, False
    if all(match.process == best.process for match in rivals):
        return best, True
    # Of connections with the very same ports the nearest is the one: a port is used by one at a time.
    return best, best.exact and rivals[0] is best and _is_nearest(best, rivals)


def _is_nearest(best: Match, rivals: Sequence[Match]) -> bool:
    others = [match for match in rivals if match.process != best.process]
    return all(abs(match.offset) > abs(best.offset) for match in others)


def _scored(
    row: Mapping[str, Any],
    network: Network,
    told: datetime,
    moment: datetime,
    hinted: frozenset[str],
    behind: frozenset[str],
) -> Iterator[Match]:
    protocol = (network.protocol or "").lower()
    if protocol in _TRANSPORT and str(row["Protocol"]).lower()[:3] not in (protocol, ""):
        return
    seconds = abs((row["Timestamp"] - moment).total_seconds())
    ports = {network.source_port, network.translated_source_port} - {None}
    addresses = {network.source_address, network.translated_source_address} - {None}
    side: Side
    if row["RemotePort"] == network.destination_port and bare(row["RemoteIP"]) == network.destination_address:
        side, score, reasons = "source", 40, ["remote address and port"]
        same_port, same_address = row["LocalPort"] in ports, bare(row["LocalIP"]) in addresses
        if same_port:
            score, reasons = score + 30, [*reasons, "local port"]
        if same_address:
            score, reasons = score + 15, [*reasons, "local address"]
        elif row["DeviceId"] in behind:
            score, reasons = score + 10, [*reasons, "gateway's address"]
        elif network.source_address and not ip_address(network.source_address).is_global:
            # No gateway to the outside stands between: it was another device, or a NAT within the network.
            score -= 20
    else:
        side, reasons = "destination", ["remote address and local port"]
        # Of two devices it is about the one that connected, unless the sensor says otherwise.
        score = 45 if network.direction == "Inbound" else 35
        same_port = row["RemotePort"] in ports
        same_address = bare(row["LocalIP"]) == network.destination_address
        if same_port:
            score, reasons = score + 30, [*reasons, "remote port"]
        if same_address:
            score, reasons = score + 15, [*reasons, "local address"]
        elif not same_port:
            # The same service of another device, called by the same client.
            return
    if seconds > NEAR and not same_port:
        return
    if points := next((points for most, points in _STEPS if seconds <= most), 0):
        score, reasons = score + points, [*reasons, "time"]
    if hinted:
        if row["DeviceId"] not in hinted:
            return
        score, reasons = score + 15, [*reasons, "device"]
    if not row["InitiatingProcessId"]:
        # Another event of the same connection may tell the process.
        score -= 1
    offset = (told - row["Timestamp"]).total_seconds()
    yield Match(TABLE, row, min(score, 100), tuple(reasons), side, same_port and same_address, offset)


def both_forms(address: str | None) -> Iterator[str]:
    """An address as events may have it: one of IPv4 also within IPv6."""
    if address:
        yield address
        if "." in address and ":" not in address:
            yield f"::ffff:{address}"


def bare(address: str) -> str:
    return address.removeprefix("::ffff:") if "." in address else address


def _plain(moment: datetime) -> datetime:
    """For the engine, which takes times without a zone as UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None)
