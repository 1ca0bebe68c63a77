"""Compiled rules kept in a file: thousands are there at once after a restart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import orjson

import shieldwall
from shieldwall import log
from shieldwall.detection.streaming.compiling import CompiledRule, compile_rule
from shieldwall.kql.errors import KqlError

logger = log.get("detection")

_MADE_BY = ("kql", "telemetry", "detection/streaming")
"""Parts of the program on which it depends what a query becomes."""


class RuleCache:
    """Compiles each query once. ``path`` is a file of ours; None keeps nothing for the next time."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, CompiledRule | KqlError] = {}
        self._kept = dict[str, object]()
        self._changed = False
        if path is not None:
            self._kept = _read(path)

    def get(self, query: str) -> CompiledRule | KqlError:
        """The compiled rule, or why there is none."""
        found = self._known.get(query)
        if found is None:
            kept = self._kept.get(query)
            found = CompiledRule.from_data(kept) if isinstance(kept, dict) else self._compiled(query)
            self._known[query] = found
        return found

    def _compiled(self, query: str) -> CompiledRule | KqlError:
        self._changed = True
        try:
            return compile_rule(query)
        except KqlError as error:
            return error

    def keep(self, queries: Iterable[str]) -> None:
        """Forget other queries than these, and write these down if one is new."""
        wanted = set(queries)
        self._known = {query: found for query, found in self._known.items() if query in wanted}
        self._kept = {}
        if self._path is None or not self._changed:
            return
        rules = {
            query: found.data() for query, found in self._known.items() if isinstance(found, CompiledRule)
        }
        body = orjson.dumps({"version": _version(), "rules": rules})
        scratch = self._path.with_suffix(".new")
        try:
            scratch.write_bytes(body)
            os.replace(scratch, self._path)
            self._changed = False
        except OSError as error:
            # They will be compiled again.
            logger.warning("compiled rules were not kept", problem=str(error))


def _read(path: Path) -> dict[str, object]:
    try:
        found = orjson.loads(path.read_bytes())
        return dict(found["rules"]) if found["version"] == _version() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@cache
def _version() -> str:
    """Of the program, as far as it makes rules from queries."""
    digest = hashlib.sha256()
    folder = Path(shieldwall.__file__).parent
    for part in _MADE_BY:
        for file in sorted((folder / part).rglob("*")):
            if file.suffix in (".py", ".yaml"):
                digest.update(file.read_bytes())
    return digest.hexdigest()
