"""How exposed a tenant is and how well it is configured, each as one number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shieldwall.exposure.configurations import POINTS
from shieldwall.exposure.labels import read_labels
from shieldwall.exposure.weaknesses import DEVICE_SCORES
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now

DEVICES_AT_ONCE = 50_000


@dataclass(frozen=True)
class GroupScore:
    group_id: int
    group_name: str
    score: float


def exposure(store: TelemetryStore, tenant_id: str) -> float:
    """The average over all devices that were assessed; 0 where none was."""
    found = store.query(tenant_id, f"SELECT avg(score) AS score FROM ({DEVICE_SCORES})", _now())
    score = found[0]["score"]
    return round(score, 12) if score == score else 0.0


def exposure_by_group(store: TelemetryStore, database: Database, tenant_id: str) -> Sequence[GroupScore]:
    """The average over the devices of each group, by the group's id; devices of no group are one too."""
    sums: dict[tuple[int, str], tuple[float, int]] = {}
    for rows in _device_scores(store, tenant_id):
        with database.read(tenant_id) as session:
            labels = read_labels(session, [row["device"] for row in rows])
        for row in rows:
            if label := labels.get(row["device"]):
                key = (label.group_id, label.group_name)
                total, devices = sums.get(key, (0.0, 0))
                sums[key] = (total + row["score"], devices + 1)
    return [
        GroupScore(group_id, name, round(total / devices, 12))
        for (group_id, name), (total, devices) in sorted(sums.items())
    ]


def configuration(store: TelemetryStore, tenant_id: str) -> float:
    found = store.query(tenant_id, POINTS, _now())
    return round(float(found[0]["score"] or 0), 12)


def _device_scores(store: TelemetryStore, tenant_id: str) -> Iterator[list[dict[str, Any]]]:
    parameters, last = _now(), ""
    while True:
        rows = store.query(
            tenant_id,
            f"SELECT device, score FROM ({DEVICE_SCORES}) WHERE device > {{last:String}} "
            f"ORDER BY device LIMIT {DEVICES_AT_ONCE}",
            {**parameters, "last": last},
        )
        if not rows:
            return
        yield rows
        last = rows[-1]["device"]


def _now() -> dict[str, Any]:
    return {"until": now().strftime("%Y-%m-%d %H:%M:%S.%f")}
