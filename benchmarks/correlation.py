"""Alerts into incidents: 100,000 over 5,000 devices, with campaigns hidden among noise; and one more alert
for a store of a million.

The time's baseline is the same alerts, entities and links stored without being placed. The grouping's is
what joins alerts on any entity that they share within a day. Precision and recall are of pairs of alerts.

Example: python -m benchmarks.correlation --alerts 100000 --store 1000000
"""

from __future__ import annotations

import argparse
import gc
import math
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import uuid4

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    String,
    Table,
    column,
    func,
    insert,
    literal,
    select,
    true,
    values,
)
from sqlalchemy import cast as cast_to

from benchmarks.campaigns import DAYS, Fleet, Labelled, alerts, fleet
from shieldwall.alerts import raising
from shieldwall.alerts.drafts import alert_id
from shieldwall.alerts.entity_models import AlertLink
from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.alerts.raising import all_links, raise_alert, raise_many
from shieldwall.identity.models import Tenant
from shieldwall.state.base import UtcDateTime
from shieldwall.state.engine import Base, Database
from shieldwall.times import now

WINDOW = 24 * 3600
AT_ONCE = 1000
"""Alerts of one transaction, as groups of events raise them."""
CAMPAIGNS = 40
AIMS = {"seconds": 60.0, "memory": 1024.0, "add": 20.0, "quality": 0.95}


class Taken(NamedTuple):
    """The time that passed, and that of one processor, which other work changes less."""

    seconds: float
    cpu: float


@contextmanager
def state(url: str, machines: int) -> Iterator[tuple[Database, str, Fleet]]:
    database = Database(url)
    Base.metadata.drop_all(database.engine)
    Base.metadata.create_all(database.engine)
    tenant = str(uuid4())
    with database.system_session() as session:
        session.add(Tenant(id=tenant, name=tenant, created_time=now()))
        found = fleet(tenant, machines)
        session.add_all(found.devices)
    try:
        yield database, tenant, found
    finally:
        database.close()


def made(tenant: str, machines: Fleet, count: int) -> list[Labelled]:
    """The alerts, which no server would hold at once: the collector of garbage leaves them alone."""
    found = alerts(tenant, machines, count, CAMPAIGNS)
    gc.collect()
    gc.freeze()
    return found


def raise_all(database: Database, found: Sequence[Labelled]) -> tuple[Taken, dict[str, str]]:
    """The time, and the label of each alert by its id."""
    labels: dict[str, str] = {}
    began, worked = time.perf_counter(), time.process_time()
    for start in range(0, len(found), AT_ONCE):
        part = found[start : start + AT_ONCE]
        with database.system_session() as session:
            raised = raise_many(session, [each.draft for each in part], WINDOW)
        labels.update(
            zip((identifier for identifier, _ in raised), (each.label for each in part), strict=True)
        )
    return Taken(time.perf_counter() - began, time.process_time() - worked), labels


def store_all(database: Database, found: Sequence[Labelled], machines: Fleet) -> Taken:
    """The time to store the same alerts with their entities and links in one incident."""
    devices = {device.id: device for device in machines.devices}
    moment = now()
    began, worked = time.perf_counter(), time.process_time()
    with database.system_session() as session:
        times = dict.fromkeys(
            ["created_time", "last_update_time", "first_event_time", "last_event_time"], moment
        )
        case = Incident(tenant_id=found[0].draft.tenant_id, name="all", **times)
        session.add(case)
        session.flush()
        number = case.id
    for start in range(0, len(found), AT_ONCE):
        fresh = []
        for each in found[start : start + AT_ONCE]:
            device = devices.get(each.draft.device_id or "")
            row = raising._row(each.draft, alert_id(each.draft), device)
            row |= {"incident_id": number, "link_reasons": []}
            fresh.append((each.draft, row, all_links(each.draft, device)))
        with database.system_session() as session:
            raising._store(session, fresh)
    return Taken(time.perf_counter() - began, time.process_time() - worked)


def quality(incident: Mapping[str, int], labels: Mapping[str, str]) -> tuple[float, float]:
    """Precision and recall of pairs of alerts that are in one incident."""
    both = Counter((incident[each], labels[each]) for each in labels)
    together = _pairs(Counter(incident[each] for each in labels))
    wanted = _pairs(Counter(labels.values()))
    right = _pairs(both)
    return right / max(together, 1), right / max(wanted, 1)


def _pairs(counts: Mapping[Any, int]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def naive(found: Sequence[Labelled], machines: Fleet) -> tuple[float, float]:
    """Precision and recall of joining on any shared entity within a day."""
    devices = {device.id: device for device in machines.devices}
    home = list(range(len(found)))

    def root(number: int) -> int:
        while home[number] != number:
            home[number] = home[home[number]]
            number = home[number]
        return number

    last: dict[str, tuple[int, datetime]] = {}
    for number, each in enumerate(found):
        moment = each.draft.first_event_time
        for link in all_links(each.draft, devices.get(each.draft.device_id or "")):
            other = last.get(link.key)
            if other and moment - other[1] <= timedelta(days=1):
                home[root(number)] = root(other[0])
            last[link.key] = (number, moment)
    names = {str(number): each.label for number, each in enumerate(found)}
    return quality({str(number): root(number) for number in range(len(found))}, names)


def campaigns_found(incident: Mapping[str, int], labels: Mapping[str, str]) -> tuple[int, int]:
    """Of the campaigns, how many have nine of ten alerts in one incident of which nine of ten are theirs."""
    members: dict[str, list[str]] = defaultdict(list)
    for identifier, label in labels.items():
        if label.startswith("campaign"):
            members[label].append(identifier)
    sizes = Counter(incident[each] for each in labels)
    good = 0
    for identifiers in members.values():
        number, count = Counter(incident[each] for each in identifiers).most_common(1)[0]
        good += count >= 0.9 * len(identifiers) and count >= 0.9 * sizes[number]
    return good, len(members)


def grown(database: Database, present: int, wanted: int) -> None:
    """Bring the store to ``wanted`` alerts, with the same ones again for each of the months before."""
    numbers = [(number + 1,) for number in range(math.ceil(wanted / present) - 1)]
    months = values(column("number", Integer), name="months").data(numbers).cte()
    tables = [cast(Table, each.__table__) for each in (Incident, Alert, Evidence, AlertLink)]
    indexes = [index for table in tables for index in table.indexes]
    with database.system_session() as session:
        connection = session.connection()
        last = session.scalars(select(func.max(Incident.id))).one()
        # Built at the end, they take a fraction of the time.
        for index in indexes:
            index.drop(connection)
        for table in tables:
            rows = {each.name: _earlier(database, each, months.c.number, last) for each in table.columns}
            if table is Evidence.__table__:
                del rows["id"]
            copied = select(*rows.values()).join_from(table, months, true()).order_by(rows.get("alert_id"))
            connection.execute(insert(table).from_select(list(rows), copied, include_defaults=False))
        for index in indexes:
            index.create(connection)


def _earlier(
    database: Database, value: Column[Any], month: ColumnElement[int], last: int
) -> ColumnElement[Any]:
    """A value of a row as it is in that of an earlier month; ``last`` is the newest incident's number."""
    if isinstance(value.type, UtcDateTime):
        if database.engine.dialect.name == "sqlite":
            days = cast_to(-DAYS * month, String).concat(" days")
            return func.strftime("%Y-%m-%d %H:%M:%f", value, days, type_=String).concat("000")
        return value - func.make_interval(0, 0, 0, DAYS * month)
    match value.table.name, value.name:
        case ("alerts", "id") | (_, "alert_id"):
            return value.concat("m").concat(cast_to(month, String))
        case ("incidents", "id") | (_, "incident_id" | "redirect_incident_id"):
            return value + last * month
        case (_, "status"):
            return literal("Resolved")
    return value


def added(database: Database, tenant: str, machines: Fleet, count: int = 300) -> list[Taken]:
    """Milliseconds of raising one alert more, with its transaction."""
    times = []
    for each in alerts(tenant, machines, count, 5, seed=99):
        began, worked = time.perf_counter(), time.process_time()
        with database.system_session() as session:
            raise_alert(session, each.draft, WINDOW)
        cpu = (time.process_time() - worked) * 1000
        times.append(Taken((time.perf_counter() - began) * 1000, cpu))
    return sorted(times)


def measure(url: str, name: str, count: int, machines: int, store: int) -> bool:
    print(f"-- {name}")
    with state(url, machines) as (database, tenant, found_fleet):
        found = made(tenant, found_fleet, count)
        plain = store_all(database, found, found_fleet)
    with state(url, machines) as (database, tenant, found_fleet):
        found = made(tenant, found_fleet, count)
        taken, labels = raise_all(database, found)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"stored only (baseline)        {plain.seconds:8.1f} s   {plain.cpu:6.1f} s of CPU")
        rate = f"{count / taken.cpu:,.0f} alerts a second of CPU, {taken.cpu / plain.cpu:.1f} of the baseline"
        print(f"into incidents                {taken.seconds:8.1f} s   {taken.cpu:6.1f} s of CPU   {rate}")
        print(f"memory at most                {memory:8.0f} MB")
        with database.system_read() as session:
            incident = {
                row.id: row.incident_id for row in session.execute(select(Alert.id, Alert.incident_id))
            }
        precision, recall = quality(incident, labels)
        good, all_ = campaigns_found(incident, labels)
        simple = naive(found, found_fleet)
        print(f"any shared entity (baseline)  precision {simple[0]:.3f}   recall {simple[1]:.3f}")
        print(f"grouping                      precision {precision:.3f}   recall {recall:.3f}")
        print(f"  {good} of {all_} campaigns whole; {len(set(incident.values())):,} incidents")
        fine = (
            taken.seconds < AIMS["seconds"]
            and memory < AIMS["memory"]
            and min(precision, recall) > AIMS["quality"]
        )
        if store:
            grown(database, count, store)
            times = added(database, tenant, found_fleet)
            cpu = statistics.median(each.cpu for each in times)
            p50, p99 = times[len(times) // 2].seconds, times[int(len(times) * 0.99)].seconds
            walls = f"p50 {p50:5.1f} ms   p99 {p99:5.1f} ms"
            print(f"one more beside {store:>11,}   {walls}   {cpu:.1f} ms of CPU")
            fine = fine and p50 < AIMS["add"]
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--devices", type=int, default=5_000)
    parser.add_argument("--store", type=int, default=1_000_000)
    parser.add_argument(
        "--url", default="", help="SQLAlchemy URL of an EMPTY database to use instead of SQLite"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or f"sqlite:///{Path(folder) / 'state.db'}"
        return 0 if measure(url, url.partition(":")[0], given.alerts, given.devices, given.store) else 1


if __name__ == "__main__":
    sys.exit(main())
