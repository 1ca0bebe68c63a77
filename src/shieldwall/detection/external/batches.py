"""What look-ups for many alerts at once share: spans of time, and events that are read whole at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore

VALUES = 500
"""Most values of one statement, which a server of ClickHouse takes in one field."""
SPANS = 16
"""Most spans of one statement; alerts of a whole year read more of the days between them."""
GAP = timedelta(hours=1)

Item = TypeVar("Item")
Window = tuple[datetime, datetime]
Row = Mapping[str, Any]
_Key = tuple[str, datetime, int]


def parts(items: Sequence[Item], size: int = VALUES) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def micros(moment: datetime) -> int:
    """Since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def within(windows: Iterable[Window]) -> tuple[str, dict[str, Any]]:
    """A condition on ``Timestamp`` that holds in all of the windows and in little more, with its values.

    It is there so that few days and granules are read; which window a row is in is for the caller to ask.
    """
    ordered, gap = sorted(windows), GAP
    while len(spans := _merged(ordered, gap)) > SPANS:
        gap *= 2
    texts, values = [], {}
    for number, (since, until) in enumerate(spans):
        texts.append(f"Timestamp BETWEEN {{since{number}:DateTime64(7)}} AND {{until{number}:DateTime64(7)}}")
        values[f"since{number}"], values[f"until{number}"] = plain(since), plain(until)
    return f"({' OR '.join(texts)})", values


def whole(store: TelemetryStore, tenant_id: str, table: str, found: Sequence[Row]) -> list[Row]:
    """The events of which ``found`` has some columns with all of theirs, in the same order.

    Device, time and report id are among the columns.
    """
    columns = ", ".join(f"`{column.name}`" for column in TABLES[table].columns)
    alike: dict[_Key, list[Row]] = defaultdict(list)
    for part in parts(sorted({_key(row) for row in found})):
        times, values = within((moment, moment + timedelta(microseconds=1)) for _, moment, _ in part)
        rows = store.query(
            tenant_id,
            f"SELECT {columns} FROM {table} WHERE {times} AND DeviceId IN {{devices:Array(String)}} "
            "AND (DeviceId, toUnixTimestamp64Micro(Timestamp), ifNull(ReportId, 0)) IN "
            "arrayZip({each:Array(String)}, {moments:Array(Int64)}, {reports:Array(Int64)})",
            {
                **values,
                "devices": sorted({device for device, _, _ in part}),
                "each": [device for device, _, _ in part],
                "moments": [micros(moment) for _, moment, _ in part],
                "reports": [report for _, _, report in part],
            },
        )
        for row in rows:
            alike[_key(row)].append(row)
    return [_fitting(row, alike[_key(row)], table) for row in found]


def _fitting(part: Row, rows: Sequence[Row], table: str) -> Row:
    for row in rows:
        if all(row.get(name) == value for name, value in part.items() if name in row):
            return row
    # It has reached the end of its days meanwhile.
    return {**{column.name: None for column in TABLES[table].columns}, **part}


def _key(row: Row) -> _Key:
    return str(row["DeviceId"]), row["Timestamp"], row["ReportId"] or 0


def plain(moment: datetime) -> datetime:
    """For the engine, which takes times without a zone as UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _merged(ordered: Sequence[Window], gap: timedelta) -> list[Window]:
    spans: list[Window] = []
    for since, until in ordered:
        if spans and since - spans[-1][1] <= gap:
            spans[-1] = spans[-1][0], max(spans[-1][1], until)
        else:
            spans.append((since, until))
    return spans
