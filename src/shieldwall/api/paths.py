"""Paths as clients write them: in any case, with double or trailing slashes and blanks, with a version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from re import Pattern

from fastapi.routing import APIRoute
from starlette.routing import compile_path

_SLASHES = re.compile("/{2,}")
_VERSION = re.compile(r"/api/v1(\.0)?(?=/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class _Known:
    pattern: Pattern[str]
    template: str
    methods: set[str]


class Paths:
    """The paths of all routes; ``locate`` finds the one that a client means."""

    def __init__(self, routes: Iterable[object]) -> None:
        known: dict[str, _Known] = {}
        for route in routes:
            if isinstance(route, APIRoute):
                pattern = re.compile(compile_path(route.path)[0].pattern, re.IGNORECASE)
                entry = known.setdefault(route.path, _Known(pattern, route.path, set()))
                entry.methods.update(route.methods or ())
        self._known = list(known.values())

    def locate(self, method: str, path: str) -> tuple[str, str | None, list[str]]:
        """The path as its route spells it, the route's template, and the methods that it has.

        A path that is a word of one route and a parameter of another goes to the one with the method.
        An unknown path comes back without a template.
        """
        plain = normal(path)
        matches = [(known, found) for known in self._known if (found := known.pattern.match(plain))]
        if not matches:
            return plain, None, []
        known, found = next((match for match in matches if method in match[0].methods), matches[0])
        methods = set().union(*(other.methods for other, _ in matches))
        return known.template.format(**found.groupdict()), known.template, sorted(methods)


def normal(path: str) -> str:
    """``path`` without what carries no meaning: ``//api/V1.0/Alerts/ `` is ``/api/Alerts``."""
    plain = _SLASHES.sub("/", path).rstrip("/ ") or "/"
    return _VERSION.sub("/api", plain, count=1) if _VERSION.match(plain) else plain
