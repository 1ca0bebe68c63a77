"""Which devices the caller of this request may see; whatever is read for it reads no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


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


def unlimited(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do the server's own work, which reaches all devices whoever set it going."""
    return Context().run(work, *args, **kwargs)


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
