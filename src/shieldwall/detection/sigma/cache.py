"""What conversion made of files before, by their text: plain JSON, which is checked as it is read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.sigma.conversion import Converted
from shieldwall.detection.sigma.refusals import Refused
from shieldwall.sources import mapping
from shieldwall.telemetry import schema

MOST_BYTES = 256 << 20
"""Of a cache that is read at all."""


class Cache:
    """Results by digest, kept in one file; one that is damaged, or that another version wrote, is as none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[str, Any] = {}
        self._used: dict[str, Any] = {}
        self._new = False
        if path is not None:
            self._found = _read(path)

    def get(self, key: str) -> Converted | None:
        """What is known under a key."""
        entry = self._found.get(key)
        if entry is None:
            return None
        try:
            found = _converted(entry)
        except (TypeError, ValueError, KeyError, AttributeError):
            return None
        self._used[key] = entry
        return found

    def put(self, key: str, converted: Converted) -> None:
        self._new = True
        self._used[key] = {
            "rules": [asdict(rule) for rule in converted.rules],
            "refused": [asdict(item) for item in converted.refused],
        }

    def save(self) -> None:
        """Keep what was used or added since the cache was read, and nothing else."""
        if self._path is None or not (self._new or len(self._used) < len(self._found)):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
            file.write(orjson.dumps({"version": _version(), "entries": self._used}))
        os.replace(file.name, self._path)


def digest(*parts: bytes) -> str:
    """A key of texts and of what converts them."""
    found = hashlib.sha256(_version().encode())
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


@cache
def _version() -> str:
    """Of all that a result depends on besides the text: our code and data, and pySigma's."""
    found = hashlib.sha256(version("pysigma").encode())
    parts = [Path(__file__).parent, Path(mapping.__file__).parent, Path(schema.__file__).parent]
    for folder in (*parts, Path(mapping.__file__).parent / "mappings"):
        for path in sorted(folder.iterdir()):
            if path.suffix in (".py", ".yaml"):
                found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        read = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    if not isinstance(read, dict) or read.get("version") != _version():
        return {}
    entries = read.get("entries")
    return entries if isinstance(entries, dict) else {}


def _converted(entry: Mapping[str, Any]) -> Converted:
    rules = [Rule(**{**item, "techniques": tuple(item["techniques"])}) for item in entry["rules"]]
    refused = [Refused(**item) for item in entry["refused"]]
    if not all(isinstance(rule.query, str) and isinstance(rule.id, str) for rule in rules):
        raise TypeError("rules have texts")
    return Converted(tuple(rules), tuple(refused))
