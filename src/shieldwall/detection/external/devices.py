"""The device that an alert names: by id, name, hardware address, or the address that it had at the time."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from shieldwall.detection.external.batches import VALUES, Window, micros, parts, within
from shieldwall.detection.external.flows import Ask, both_forms
from shieldwall.detection.external.schema import ITEMS, ExternalAlert
from shieldwall.devices.models import Device
from shieldwall.telemetry.store import TelemetryStore

BY_ID, BY_NAME, BY_SHORT_NAME, BY_MAC, BY_LEASE, BY_CONNECTIONS, BY_LAST_ADDRESS = 100, 90, 80, 85, 75, 60, 45
"""How sure each way is, of 100."""

REPORTS = timedelta(hours=25)
LEASE = timedelta(minutes=15)
AROUND = timedelta(hours=1)
ADDRESSES_LIMIT = 8
PREFIXES = 100
CHUNK = 5_000
MANY = 20
"""Devices with one address at one time of which no more are read."""

_BY_MAC = """
SELECT DeviceId AS device, replaceRegexpAll(lower(MacAddress), '[:.-]', '') AS mac,
       groupUniqArray(toUnixTimestamp64Micro(Timestamp)) AS times
FROM DeviceNetworkInfo WHERE {times} AND mac IN {{macs:Array(String)}} GROUP BY device, mac
"""
# All reports of an adapter, with the addresses that it had: the last one before an alert tells.
_ADAPTERS = """
SELECT DeviceId AS device, MacAddress, groupArray(toUnixTimestamp64Micro(Timestamp)) AS times,
       groupArray(arrayFilter(
         each -> each IN {{addresses:Array(String)}}, splitByChar('"', IPAddresses))) AS had
FROM DeviceNetworkInfo WHERE {times} GROUP BY device, MacAddress
HAVING arrayExists(each -> notEmpty(each), had) OR device IN {{devices:Array(String)}} LIMIT 100000
"""
# An hour is shorter than the span that is asked about, so its first and last use tell whether one is within.
_BY_CONNECTIONS = f"""
SELECT LocalIP AS address, DeviceId AS device,
       toUnixTimestamp64Micro(min(Timestamp)) AS first, toUnixTimestamp64Micro(max(Timestamp)) AS last
FROM DeviceNetworkEvents WHERE {{times}} AND LocalIP IN {{{{addresses:Array(String)}}}}
GROUP BY address, device, toStartOfHour(Timestamp) AS hour ORDER BY address, hour, device
LIMIT {MANY} BY address, hour LIMIT 100000
"""


@dataclass(frozen=True)
class Found:
    device_id: str
    score: int
    reason: str


def named(
    session: Session, store: TelemetryStore, tenant_id: str, alerts: Sequence[ExternalAlert]
) -> list[Found | None]:
    """The device that each alert's product knew by more than an address; None where none or several fit."""
    found: list[Found | None] = [None] * len(alerts)

    def left() -> Iterator[tuple[int, ExternalAlert]]:
        return ((number, alert) for number, alert in enumerate(alerts) if found[number] is None)

    ids = {number: alert.device.id.strip().lower() for number, alert in left() if alert.device.id}
    by_id = _by_id(session, ids.values())
    for number, wanted in ids.items():
        if device := _single(by_id[wanted]):
            found[number] = Found(device, BY_ID, "device id")
    names = {number: alert.device.name.rstrip(".").lower() for number, alert in left() if alert.device.name}
    by_name = _by_name(session, names.values())
    for number, name in names.items():
        if device := _single(by_name[name]):
            found[number] = Found(device, BY_NAME, "name")
            continue
        short = name.partition(".")[0]
        # A name with another domain is another device.
        alike = [*by_name[short], *by_name[f"{short}."]] if short == name or by_name[short] else []
        if device := _single(alike):
            found[number] = Found(device, BY_SHORT_NAME, "short name")
    asked = {number: alert for number, alert in left() if alert.device.mac_addresses}
    by_mac = _by_mac(store, tenant_id, list(asked.values()))
    for number, alert in asked.items():
        since, until = map(micros, _reports(alert.time))
        had = {
            device
            for mac in alert.device.mac_addresses
            for device, times in by_mac[mac]
            if any(since <= each <= until for each in times)
        }
        if device := _single(list(had)):
            found[number] = Found(device, BY_MAC, "hardware address")
    return found


def by_address(
    session: Session, store: TelemetryStore, tenant_id: str, asks: Sequence[Ask]
) -> list[Found | None]:
    """The one device that had an address of each alert at its time."""
    each = [(ask, list(dict.fromkeys(_addresses(ask.alert)))[:ADDRESSES_LIMIT]) for ask in asks]
    return [
        found
        for part in parts(each, VALUES // ADDRESSES_LIMIT)
        for known in (_Addressed(session, store, tenant_id, part),)
        for found in (known.find(ask.by_our_clocks, addresses) for ask, addresses in part)
    ]


def behind(session: Session, addresses: Iterable[str | None], devices: Iterable[str]) -> dict[str, set[str]]:
    """Which of the devices reach us from each public address, which is their gateway's then."""
    found: dict[str, set[str]] = defaultdict(set)
    public = {address for address in addresses if address is not None and ip_address(address).is_global}
    if public:
        for part in parts(sorted(set(devices)), CHUNK):
            rows = select(Device.id, Device.last_external_ip_address).where(Device.id.in_(part))
            for identifier, address in session.execute(rows):
                if address in public:
                    found[address].add(identifier)
    return found


class _Addressed:
    """Which devices had some addresses at some times."""

    def __init__(
        self, session: Session, store: TelemetryStore, tenant_id: str, asked: Sequence[tuple[Ask, list[str]]]
    ) -> None:
        self._had: dict[str, list[_Adapter]] = defaultdict(list)
        self._adapters: dict[str, list[_Adapter]] = defaultdict(list)
        self._used: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
        self._last: dict[str, list[tuple[str, datetime, datetime]]] = defaultdict(list)
        addresses = sorted({address for _, each in asked for address in each})
        if not addresses:
            return
        moments = [ask.by_our_clocks for ask, each in asked if each]
        last = select(Device.id, Device.last_ip_address, Device.first_seen, Device.last_contact)
        alike = last.where(Device.last_ip_address.in_(addresses)).order_by(Device.id).limit(CHUNK)
        for device, address, seen, contact in session.execute(alike):
            self._last[address or ""].append((device, seen, contact))
        told = sorted({device for each in self._last.values() for device, _, _ in each})
        times, values = within(_reports(moment) for moment in moments)
        rows = store.query(
            tenant_id,
            _ADAPTERS.format(times=times),
            {**values, "addresses": addresses, "devices": told},
        )
        for row in rows:
            adapter = _Adapter(row["device"], sorted(zip(row["times"], row["had"], strict=True)))
            self._adapters[adapter.device].append(adapter)
            for address in {address for _, had in adapter.reports for address in had}:
                self._had[address].append(adapter)
        times, values = within((moment - AROUND, moment + AROUND) for moment in moments)
        forms = {form: address for address in addresses for form in both_forms(address)}
        rows = store.query(
            tenant_id, _BY_CONNECTIONS.format(times=times), {**values, "addresses": list(forms)}
        )
        for row in rows:
            self._used[forms[row["address"]]].append((row["device"], row["first"], row["last"]))

    def find(self, moment: datetime, addresses: Sequence[str]) -> Found | None:
        reported = tuple(map(micros, _reports(moment)))
        since, until = micros(moment - AROUND), micros(moment + AROUND)
        for address in addresses:
            had = {
                adapter.device
                for adapter in self._had.get(address, ())
                if (last := adapter.last(*reported)) is not None and address in last
            }
            if found := _single(list(had)):
                return Found(found, BY_LEASE, f"had {address} at that time")
            if had:
                continue
            used = {
                device
                for device, first, last in self._used.get(address, ())
                if first <= until and last >= since
            }
            if found := _single(list(used)):
                return Found(found, BY_CONNECTIONS, f"used {address} at that time")
            if used:
                continue
            # What reported no adapters yet counts with the address of its last report.
            told = [
                device
                for device, seen, contact in self._last.get(address, ())
                if seen <= moment + LEASE
                and contact >= moment - REPORTS
                and all(adapter.last(*reported) is None for adapter in self._adapters.get(device, ()))
            ]
            if found := _single(told):
                return Found(found, BY_LAST_ADDRESS, f"has {address}")
        return None


@dataclass(frozen=True)
class _Adapter:
    """A network adapter: the time of each report, and those of the asked addresses that it had then."""

    device: str
    reports: list[tuple[int, list[str]]]

    def last(self, since: int, until: int) -> list[str] | None:
        """What the last report of a span tells; None where there is none."""
        place = bisect_right(self.reports, until, key=lambda report: report[0]) - 1
        return self.reports[place][1] if place >= 0 and self.reports[place][0] >= since else None


def _by_id(session: Session, wanted: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for part in parts(sorted(set(wanted))):
        rows = select(Device.id, Device.aad_device_id).where(
            or_(Device.id.in_(part), Device.aad_device_id.in_(part))
        )
        for identifier, directory in session.execute(rows):
            found[identifier].add(identifier)
            found[directory or ""].add(identifier)
    return defaultdict(list, {name: sorted(each) for name, each in found.items()})


def _by_name(session: Session, names: Iterable[str]) -> dict[str, list[str]]:
    """Devices by name, and with a dot behind it by a short name that they have before some domain."""
    wanted = set(names)
    shorts = {name.partition(".")[0] for name in wanted}
    column = func.lower(Device.computer_dns_name)
    found: dict[str, list[str]] = defaultdict(list)
    for part in parts(sorted(wanted | shorts)):
        for identifier, name in session.execute(select(Device.id, column).where(column.in_(part))):
            found[name].append(identifier)
    unclear = {
        short
        for name in wanted
        if len(found[name]) != 1 and ((short := name.partition(".")[0]) == name or found[short])
    }
    for part in parts(sorted(unclear), PREFIXES):
        alike = or_(*(column.startswith(f"{short}.", autoescape=True) for short in part))
        for identifier, name in session.execute(select(Device.id, column).where(alike)):
            found[f"{name.partition('.')[0]}."].append(identifier)
    return found


def _by_mac(
    store: TelemetryStore, tenant_id: str, alerts: Sequence[ExternalAlert]
) -> dict[str, list[tuple[str, list[int]]]]:
    found: dict[str, list[tuple[str, list[int]]]] = defaultdict(list)
    for part in parts(alerts, VALUES // ITEMS):
        times, values = within(_reports(alert.time) for alert in part)
        macs = sorted({mac for alert in part for mac in alert.device.mac_addresses})
        for row in store.query(tenant_id, _BY_MAC.format(times=times), {**values, "macs": macs}):
            found[row["mac"]].append((row["device"], row["times"]))
    return found


def _reports(moment: datetime) -> Window:
    return moment - REPORTS, moment + LEASE


def _addresses(alert: ExternalAlert) -> Iterator[str]:
    """The likeliest first: what the product says of the device, then the end at which it is."""
    yield from alert.device.addresses
    network = alert.network
    source = (network.source_address, network.translated_source_address)
    ends = (network.destination_address, *source)
    for address in ends if network.direction == "Inbound" else (*source, network.destination_address):
        if address:
            yield address


def _single(found: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else None
