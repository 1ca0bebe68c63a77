"""The connection that an alert is about, among those that agents reported: by its ends, and by its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Literal

from shieldwall.detection.external.batches import Row, Window, micros, parts, within
from shieldwall.detection.external.schema import ExternalAlert, Network
from shieldwall.telemetry.store import TelemetryStore

TABLE = "DeviceNetworkEvents"
ROWS_LIMIT = 200
TOGETHER = 250
"""Most alerts of one statement."""
PAIRS = 4_000_000
"""Most pairs of an alert and a connection that one statement compares."""
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
_COLUMNS = ", ".join(
    (
        *("DeviceId", "Timestamp", "ReportId", "RemoteIP", "RemotePort", "LocalIP", "LocalPort", "Protocol"),
        *("InitiatingProcessId", "InitiatingProcessCreationTime"),
    )
)
"""What tells which connection is an alert's; only those that are one's are read whole."""
# A device shows the other end as its remote one: which end it is itself is to be found. What is far in time
# and has other ports counts for nothing.
_QUERY = f"""
SELECT number, {_COLUMNS}
FROM (
  SELECT {_COLUMNS} FROM {TABLE}
  WHERE {{times}} AND ActionType != 'ListeningConnectionCreated'
    AND RemoteIP IN {{{{addresses:Array(String)}}}}
) AS seen
INNER JOIN (
  SELECT arrayJoin(arrayZip(
    {{{{numbers:Array(UInt32)}}}}, {{{{addresses:Array(String)}}}}, {{{{opened:Array(UInt8)}}}},
    {{{{ports:Array(Int64)}}}}, {{{{source_ports:Array(Int64)}}}}, {{{{other_ports:Array(Int64)}}}},
    {{{{moments:Array(Int64)}}}}, {{{{since:Array(Int64)}}}}, {{{{until:Array(Int64)}}}}
  )) AS ask,
  ask.1 AS number, ask.2 AS far, ask.3 AS is_source, ask.4 AS port, ask.5 AS source, ask.6 AS other,
  ask.7 AS moment, ask.8 AS first, ask.9 AS last
) AS asked ON RemoteIP = far
WHERE if(is_source, RemotePort = port, LocalPort = port AND (source = -1 OR RemotePort = source))
  AND (toUnixTimestamp64Micro(Timestamp) AS time) BETWEEN first AND last
  AND (abs(time - moment) <= {int(NEAR * 1_000_000)}
    OR LocalPort IN (source, other) OR RemotePort IN (source, other))
ORDER BY number, (LocalPort = source OR RemotePort = source) DESC, abs(time - moment), ReportId
LIMIT {ROWS_LIMIT} BY number
"""
_COUNTS = f"""
SELECT RemoteIP AS address, count() AS rows FROM {TABLE}
WHERE {{times}} AND RemoteIP IN {{{{addresses:Array(String)}}}} GROUP BY address
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


@dataclass(frozen=True)
class Ask:
    """An alert whose connection is looked for; ``skew`` is how many seconds its sensor's clock is ahead."""

    alert: ExternalAlert
    skew: float

    @property
    def told(self) -> datetime:
        return self.alert.network.start_time or self.alert.time

    @property
    def moment(self) -> datetime:
        """When the connection was, by our clocks."""
        return self.told - timedelta(seconds=self.skew)

    @property
    def by_our_clocks(self) -> datetime:
        """When the alert was."""
        return self.alert.time - timedelta(seconds=self.skew)

    @property
    def window(self) -> Window:
        before = AFTER if self.alert.network.start_time else BEFORE
        return self.moment - before, self.moment + AFTER

    @property
    def addresses(self) -> list[tuple[str, bool]]:
        """The far ends of the connection, each with whether it is so for who opened it."""
        network = self.alert.network
        if network.destination_port is None:
            return []
        opened = [(address, True) for address in both_forms(network.destination_address)]
        return [*opened, *((address, False) for address in both_forms(network.source_address))]


def near(store: TelemetryStore, tenant_id: str, asks: Sequence[Ask]) -> list[list[Row]]:
    """For each alert the connections with its far end, the nearest by ports and time, with few columns."""
    found: list[dict[tuple[Any, ...], Row]] = [{} for _ in asks]
    numbers = [number for number, ask in enumerate(asks) if ask.addresses]
    for part in _bounded(store, tenant_id, asks, numbers):
        entries = [(number, *entry) for number in part for entry in asks[number].addresses]
        each = [asks[number] for number, _, _ in entries]
        ports = [_source_ports(ask.alert.network) for ask in each]
        times, values = within(ask.window for ask in each)
        rows = store.query(
            tenant_id,
            _QUERY.format(times=times),
            {
                **values,
                "numbers": [number for number, _, _ in entries],
                "addresses": [address for _, address, _ in entries],
                "opened": [int(opened) for _, _, opened in entries],
                "ports": [ask.alert.network.destination_port for ask in each],
                "source_ports": [source for source, _ in ports],
                "other_ports": [other for _, other in ports],
                "moments": [micros(ask.moment) for ask in each],
                "since": [micros(ask.window[0]) for ask in each],
                "until": [micros(ask.window[1]) for ask in each],
            },
        )
        for row in rows:
            number = row.pop("number")
            found[number].setdefault(tuple(row.values()), row)
    return [list(rows.values()) for rows in found]


def scored(ask: Ask, rows: Iterable[Row], hinted: Iterable[str], behind: frozenset[str]) -> list[Match]:
    """Connections that the alert may be about, the likeliest first.

    ``hinted`` are the devices that the alert names, ``behind`` those behind a gateway with its source
    address.
    """
    names, network, told, moment = frozenset(hinted), ask.alert.network, ask.told, ask.moment
    source = network.source_address
    inside = source is not None and not ip_address(source).is_global
    found = [match for row in rows for match in _scored(row, network, told, moment, names, behind, inside)]
    return sorted(found, key=lambda match: (-match.score, abs(match.offset - ask.skew)))


def _bounded(
    store: TelemetryStore, tenant_id: str, asks: Sequence[Ask], numbers: Sequence[int]
) -> Iterator[Sequence[int]]:
    """Alerts that are looked up together: so many that what one statement compares is bounded."""
    if len(numbers) < 2:
        yield from parts(numbers)
        return
    for part in parts(numbers, TOGETHER):
        times, values = within(asks[number].window for number in part)
        addresses = sorted({address for number in part for address, _ in asks[number].addresses})
        rows = store.query(tenant_id, _COUNTS.format(times=times), {**values, "addresses": addresses})
        counts = {row["address"]: row["rows"] for row in rows}
        together: list[int] = []
        pairs = 0
        for number in part:
            more = sum(counts.get(address, 0) for address, _ in asks[number].addresses)
            if together and pairs + more > PAIRS:
                yield together
                together, pairs = [], 0
            together, pairs = [*together, number], pairs + more
        yield together


def _source_ports(network: Network) -> tuple[int, int]:
    """The port of who opened the connection, and that on the other side of a NAT; -1 where not told."""
    translated = -1 if network.translated_source_port is None else network.translated_source_port
    return (translated if network.source_port is None else network.source_port), translated


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
    inside: bool,
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
        elif inside:
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
