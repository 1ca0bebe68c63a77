"""Which devices the caller of this request may see; whatever is read for it reads no others."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceScope:
    """Device groups: their ids, with 0 for devices of no group, and their names, with ``""`` for those."""

    groups: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()


Reach = DeviceScope | None
"""None reaches all devices."""

_current: ContextVar[Reach] = ContextVar("device_scope", default=None)


def narrow(reach: Reach) -> None:
    """Set what the rest of this request reaches. Threads that it starts its work in follow."""
    _current.set(reach)


def current() -> Reach:
    return _current.get()


def together(reaches: Iterable[Reach]) -> Reach:
    """What several reach; of none, nothing."""
    groups: set[int] = set()
    names: set[str] = set()
    for reach in reaches:
        if reach is None:
            return None
        groups |= reach.groups
        names |= reach.names
    return DeviceScope(frozenset(groups), frozenset(names))
