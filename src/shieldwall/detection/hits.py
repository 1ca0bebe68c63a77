"""Finding, inside ClickHouse, the stored events that touch an indicator."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shieldwall import log
from shieldwall.detection.columns import MATCHED_TABLES, Compared, selected
from shieldwall.detection.values import url_prefixes
from shieldwall.telemetry.ddl import DATABASE
from shieldwall.telemetry.schema import TABLES
from shieldwall.telemetry.store import TelemetryStore

HITS_OF_ONE = 200
"""Most hits on one device by the same values; more of the same add nothing but a count."""
HITS_LIMIT = 20_000
"""Most hits of one table looked at together."""

logger = log.get("detection")

Value = tuple[str, str]
"""Indicator type and comparable value."""


@dataclass(frozen=True)
class Hit:
    """An event that may touch indicators: its row, and the values that it was compared by."""

    table: str
    tenant_id: str
    row: Mapping[str, Any]
    candidates: tuple[tuple[Compared, tuple[Value, ...]], ...]


def find_hits(
    store: TelemetryStore, table: str, where: str, members: str, kinds: Collection[str]
) -> Iterator[Hit]:
    """Events of ``table`` under the condition ``where`` with a value whose key is in ``members``.

    Both are SQL of our own making. ``members`` is a set of keys, of indicators of these ``kinds``. It may
    hold too many: whoever asks checks each candidate against the list itself.
    """
    comparisons = MATCHED_TABLES[table]
    conditions = {
        item.column: condition for item in comparisons if (condition := _condition(item, members, kinds))
    }
    if not conditions:
        return
    matched = ", ".join(f"if({condition}, `{column}`, '')" for column, condition in conditions.items())
    columns = ", ".join(f"`{name}`" for name in selected(TABLES[table]))
    rows = store.system_query(
        f"SELECT toString(TenantId) AS TenantId, {columns} FROM {DATABASE}.{table} "
        f"WHERE {where} AND ({' OR '.join(conditions.values())}) "
        # In the order of the table, so that nothing has to be sorted.
        "ORDER BY TenantId, DeviceId, Timestamp "
        f"LIMIT {HITS_OF_ONE} BY TenantId, DeviceId, {matched} LIMIT {HITS_LIMIT}"
    )
    if len(rows) == HITS_LIMIT:
        logger.warning("more hits than are looked at together", table=table, hits=HITS_LIMIT)
    for row in rows:
        candidates = tuple((item, values) for item in comparisons if (values := _values(item, row)))
        yield Hit(table, row["TenantId"], row, candidates)


def key(kind: str, value: str) -> str:
    """The SQL of an indicator's key, from SQL for its tenant's column ``TenantId`` and its value."""
    return f"sipHash64(toString(TenantId), '{kind}', {value})"


def _condition(item: Compared, members: str, kinds: Collection[str]) -> str:
    """The SQL that is true where the column's value may be of an indicator; empty when none can be."""
    column = f"`{item.column}`"
    if not item.names:
        value = f"lower({column})"
        return f"(notEmpty({column}) AND {key(item.kind, value)} IN {members})" if item.kind in kinds else ""
    # A URL is covered by itself, by each folder above it, and by its host's domain and parent domains.
    bare = f"replaceRegexpOne({column}, '^[A-Za-z]+://', '')"
    parts = f"splitByChar('/', splitByChar('?', {bare})[1])"
    host = f"lower(splitByChar(':', {parts}[1])[1])"
    found = []
    if "DomainName" in kinds:
        labels = f"splitByChar('.', {host})"
        parents = f"range(1, length({labels}) + 1)"
        domains = f"arrayMap(i -> arrayStringConcat(arraySlice({labels}, i), '.'), {parents})"
        found.append(f"arrayExists(d -> {key('DomainName', 'd')} IN {members}, {domains})")
    if "Url" in kinds:
        depths = f"range(1, least(length({parts}), 32) + 1)"
        folders = f"arrayMap(i -> arrayStringConcat(arraySlice({parts}, 1, i), '/'), {depths})"
        first = "splitByChar('/', f)[1]"
        whole = f"arrayPushBack({folders}, {bare})"
        lowered = f"arrayMap(f -> concat(lower({first}), substring(f, length({first}) + 1)), {whole})"
        found.append(f"arrayExists(u -> {key('Url', 'u')} IN {members}, {lowered})")
    if "IpAddress" in kinds:
        found.append(f"{key('IpAddress', host)} IN {members}")
    return f"(notEmpty({column}) AND ({' OR '.join(found)}))" if found else ""


def _values(item: Compared, row: Mapping[str, Any]) -> tuple[Value, ...]:
    """The indicators that could cover this column's value."""
    value = row[item.column]
    if not value:
        return ()
    if not item.names:
        return ((item.kind, str(value).lower()),)
    prefixes = url_prefixes(str(value))
    return tuple(
        pair
        for prefix in prefixes
        for pair in (("Url", prefix), ("DomainName", prefix), ("IpAddress", prefix))
    )
