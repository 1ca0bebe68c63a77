"""Which indicators really apply to a hit, after scope, expiry and the documented order of precedence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from shieldwall.detection.columns import Compared
from shieldwall.detection.hits import Hit, Value
from shieldwall.detection.models import Indicator
from shieldwall.times import now

_FILE_ORDER = ("FileSha256", "FileSha1", "FileMd5")
_NETWORK_ORDER = ("Allowed", "Warn", "Block", "BlockAndRemediate", "Audit")
_CHUNK = 400

Listed = Mapping[tuple[str, str, str], Indicator]
"""Indicators by tenant, type and comparable value."""


@dataclass(frozen=True)
class Verdict:
    """An indicator that applies to a hit by one of its columns."""

    indicator: Indicator
    compared: Compared


def load_listed(session: Session, hits: Iterable[Hit]) -> Listed:
    """The indicators that the hits' values name, from the state."""
    wanted: dict[str, set[Value]] = {}
    for hit in hits:
        for _, values in hit.candidates:
            wanted.setdefault(hit.tenant_id, set()).update(values)
    listed: dict[tuple[str, str, str], Indicator] = {}
    for tenant_id, named in wanted.items():
        for chunk in _chunks(sorted(named)):
            for indicator in session.scalars(
                select(Indicator).where(
                    Indicator.tenant_id == tenant_id,
                    tuple_(Indicator.indicator_type, Indicator.match_value).in_(chunk),
                )
            ):
                listed[(tenant_id, indicator.indicator_type, indicator.match_value)] = indicator
    return listed


def verdicts(hit: Hit, listed: Listed) -> list[Verdict]:
    """What applies: for each file the strongest hash's indicator, for each address the one that decides."""
    time = now()
    files: dict[bool, list[Verdict]] = {}
    found: list[Verdict] = []
    for compared, values in hit.candidates:
        applying = [
            Verdict(indicator, compared)
            for value in values
            if (indicator := listed.get((hit.tenant_id, *value))) and _applies(indicator, hit, time)
        ]
        if compared.kind in _FILE_ORDER:
            files.setdefault(compared.of_actor, []).extend(applying)
        elif applying:
            found.append(_deciding(applying))
    for group in files.values():
        if group:
            found.append(min(group, key=lambda item: _FILE_ORDER.index(item.indicator.indicator_type)))
    return [verdict for verdict in found if verdict.indicator.action != "Allowed"]


def _deciding(applying: Sequence[Verdict]) -> Verdict:
    """The longest URL decides; of equally long ones, allowing goes before warning before blocking."""
    return min(
        applying,
        key=lambda item: (
            -len(item.indicator.match_value) if item.indicator.indicator_type == "Url" else 0,
            _NETWORK_ORDER.index(item.indicator.action),
        ),
    )


def _applies(indicator: Indicator, hit: Hit, time: datetime) -> bool:
    if indicator.expiration_time is not None and indicator.expiration_time <= time:
        return False
    groups = indicator.rbac_group_names
    return not groups or str(hit.row.get("MachineGroup") or "") in groups


def _chunks(values: list[Value]) -> Iterable[list[Value]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
