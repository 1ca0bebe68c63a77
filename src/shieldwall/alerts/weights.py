"""How much a shared entity says about two alerts: by its kind, how rare it is, and the time between them.

Two alerts belong together when what they share adds up to ``THRESHOLD``. The sum is of the kinds of entities,
each with its best one, so that many names of one thing are no more than the thing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import permutations
from typing import NamedTuple

from shieldwall.alerts.links import Kind, Link

_NO_TIME = timedelta(0)
THRESHOLD = 1.0
NEW, TURNS = 0.3, timedelta(days=3)
FEW, DOUBT, HISTORY = 50, 0.4, timedelta(days=7)


@dataclass(frozen=True)
class Weight:
    """What an entity of one kind is worth. ``window`` is a multiple of the incident window.

    It counts in full while it is ``rare`` and not at all once it is ``common``; between, by the logarithm.
    ``flat`` is the part of the window within which the time does not matter; beyond, it counts less and less.
    ``learnt`` is of entities of which only a tenant's history tells whether they are common.
    """

    name: str
    worth: float
    window: float
    flat: float = 0.5
    rare: float = 15
    common: float = 1000
    learnt: bool = False


PROCESS = Weight("process", 2.0, 1)
SESSION = Weight("session", 0.4, 1 / 3, flat=0)
DEVICE = Weight("device", 0.8, 1 / 24, flat=0, rare=15, common=150)
USER = Weight("user", 0.3, 1 / 3, flat=0, rare=20, common=100)
FILE = Weight("file", 2.0, 3, flat=0.25, learnt=True)
ADDRESS = Weight("address", 1.6, 2, flat=0.25, learnt=True)
PRIVATE = Weight("private address", 0.5, 1 / 3)
DOMAIN = Weight("domain", 1.6, 2, flat=0.25, learnt=True)
LOGON = Weight("remote logon", 1.6, 1 / 3)
CONNECTION = Weight("connection", 0.8, 1 / 3)
SOURCE = Weight("source of logons", 0.6, 1 / 3)

_ALIKE: Mapping[Kind, Weight] = {
    "process": PROCESS,
    "session": SESSION,
    "device": DEVICE,
    "user": USER,
    "file": FILE,
    "address": ADDRESS,
    "private": PRIVATE,
    "domain": DOMAIN,
    "logon": SOURCE,
}
_PAIRS: Mapping[frozenset[Kind], Weight] = {
    frozenset(("own", "logon")): LOGON,
    frozenset(("own", "private")): CONNECTION,
    frozenset(("own", "address")): CONNECTION,
    frozenset(("own", "domain")): CONNECTION,
    frozenset(("logon", "private")): SOURCE,
    frozenset(("logon", "address")): SOURCE,
    frozenset(("logon", "domain")): SOURCE,
}
WINDOWS: Mapping[Kind, float] = {
    kind: max(
        [*(weight.window for alike, weight in _ALIKE.items() if alike == kind)]
        + [weight.window for pair, weight in _PAIRS.items() if kind in pair]
    )
    for kind in (*_ALIKE, "own")
}
"""How far an alert looks for others by a link of each kind, as a multiple of the incident window."""

COUNTED: frozenset[Kind] = frozenset(("device", "user", "file", "address", "private", "domain", "logon"))
"""Kinds of which it is kept how often they were seen. Processes and sessions are of one moment on one device;
a device's own names are as common as others name them."""


def weight_of(mine: Kind, other: Kind) -> Weight | None:
    """What it is worth that one alert names an entity as ``mine`` and another as ``other``."""
    return _WEIGHTS.get((mine, other))


_WEIGHTS: Mapping[tuple[Kind, Kind], Weight] = {
    **{(kind, kind): weight for kind, weight in _ALIKE.items()},
    **{(one, other): weight for pair, weight in _PAIRS.items() for one, other in permutations(pair, 2)},
}


class Span(NamedTuple):
    """From an alert's first event to its last."""

    first: datetime
    last: datetime

    def gap(self, other: Span) -> timedelta:
        """The time between the two; none when they overlap."""
        if self.first > other.last:
            return self.first - other.last
        return other.first - self.last if other.first > self.last else _NO_TIME


@dataclass(frozen=True)
class Shared:
    """An entity that two alerts share, and what that is worth."""

    weight: Weight
    link: Link
    score: float


def commonness(devices: float, titles: float, days: float) -> float:
    """How widely an entity is seen. One attack is wide in devices, but in few detections and few days;
    what is part of every machine is wide in both, and so is a scanner that comes every day."""
    return max(devices, 1) * max(titles, days, 1)


def rarity(common: float, age: timedelta, weight: Weight) -> float:
    """1 for a rare entity, 0 for one that says nothing. ``age`` is how long it has been known: what is wide
    and new is an outbreak, what is as wide and old was always there."""
    if weight.learnt:
        common *= NEW + age / TURNS
    if common <= weight.rare:
        return 1.0
    if common >= weight.common:
        return 0.0
    return 1 - math.log(common / weight.rare) / math.log(weight.common / weight.rare)


def trust(alerts: int, history: timedelta) -> float:
    """How far rarity can be believed, with so many alerts within so long a history.

    In a tenant with much noise and a short history, what is common still looks rare; then one such entity is
    not enough. With few alerts, two of them hardly share a common one by chance.
    """
    return 1.0 if alerts <= FEW else min(1.0, DOUBT + (1 - DOUBT) * (history / HISTORY))


def closeness(gap: timedelta, weight: Weight, window: timedelta) -> float:
    """1 for what happens together, 0 beyond the window of the kind."""
    part = gap / (window * weight.window)
    if part >= 1:
        return 0.0
    return min(1.0, (1 - part) / (1 - weight.flat))


def total(shared: Iterable[Shared]) -> float:
    return sum(each.score for each in shared)
