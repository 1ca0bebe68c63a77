"""Rules of a file, a folder or an archive, converted once for each text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from shieldwall.detection.sigma.archives import UnreadablePathError, read
from shieldwall.detection.sigma.cache import Cache, digest
from shieldwall.detection.sigma.conversion import Converted, Converter, merged
from shieldwall.detection.sigma.documents import UnreadableError, documents
from shieldwall.detection.sigma.parsing import File
from shieldwall.detection.sigma.pipeline import Placeholders

_LINKS = re.compile(rb"""^(?:["']?(?:correlation|filter)["']?\s*:|\s*\{)""", re.MULTILINE)
"""Of files with correlations or filters, which bear on rules of others."""
MOST_PLACEHOLDERS = 1000
MOST_VALUES = 10_000


def load(
    path: Path,
    placeholders: Placeholders | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """All rules under a path. UnreadablePathError when it cannot be read at all.

    ``cache`` is a file of ours to keep results in; ``progress`` is told how many files of how many are done.
    """
    files, refused = read(path)
    if not files and not refused:
        raise UnreadablePathError(f"{path} has no rule files")
    found = convert_files(files, placeholders, Cache(cache), progress)
    return Converted(found.rules, (*refused, *found.refused))


def convert_files(
    files: Sequence[File],
    placeholders: Placeholders | None = None,
    cache: Cache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Converted:
    """Rules of files, from the cache where each file's text, and what bears on it, is as it was."""
    cache = cache or Cache(None)
    converter = Converter(placeholders)
    values = orjson.dumps(placeholders or {}, option=orjson.OPT_SORT_KEYS)
    parts = []
    done = 0
    for group, shown in _groups(files):
        key = digest(values, *(part for file in group for part in (file.path.encode(), file.content)))
        result = cache.get(key)
        if result is None:
            result = converter.convert(group)
            cache.put(key, result)
        parts.append((group[0].path, result))
        done += shown
        if progress is not None:
            progress(done, len(files))
    cache.save()
    return merged(parts)


def read_placeholders(path: Path) -> Placeholders:
    """Values by the name of a placeholder, from a YAML file: one value or a list for each.

    UnreadablePathError names what is wrong.
    """
    try:
        found = documents(path.read_bytes())
    except (OSError, UnreadableError) as error:
        raise UnreadablePathError(f"{path} cannot be read: {error}") from None
    values: dict[str, list[str]] = {}
    for document in found:
        for name, given in document.data.items():
            listed = given if isinstance(given, list) else [given]
            if not listed or any(isinstance(value, dict | list) or value is None for value in listed):
                line = document.line(name)
                raise UnreadablePathError(f"{path}, line {line}: {name} must be a value or a list of values")
            values[name] = [str(value) for value in listed]
            if len(values) > MOST_PLACEHOLDERS or len(listed) > MOST_VALUES:
                raise UnreadablePathError(f"{path} has too many placeholders or values")
    return values


def _groups(files: Sequence[File]) -> list[tuple[list[File], int]]:
    """Files that have to be converted together, and how many of them are new to the caller.

    Filters go with every file; correlations with all files that they may refer to, by id or by name.
    """
    linking = [file for file in files if _LINKS.search(file.content)]
    if not linking:
        return [([file], 1) for file in files]
    plain = [file for file in files if file not in linking]
    filters = [
        file for file in linking if re.search(rb"""^["']?filter["']?\s*:""", file.content, re.MULTILINE)
    ]
    wanted = {text for file in linking for text in _references(file)}
    together = [file for file in plain if any(text in file.content for text in wanted)]
    alone = [file for file in plain if file not in together]
    return [([*linking, *together], len(linking) + len(together)), *(([file, *filters], 1) for file in alone)]


def _references(file: File) -> set[bytes]:
    """What a file of correlations refers to."""
    try:
        found = documents(file.content)
    except UnreadableError:
        return set()
    texts: set[bytes] = set()
    for document in found:
        asked = document.data.get("correlation")
        named = asked.get("rules") if isinstance(asked, dict) else None
        for name in named if isinstance(named, list) else [named]:
            if isinstance(name, str) and name:
                texts.add(name.encode())
        condition = asked.get("condition") if isinstance(asked, dict) else None
        if isinstance(condition, str):
            texts.update(word.encode() for word in re.findall(r"\w+", condition) if word not in _WORDS)
    return texts


_WORDS = {"and", "or", "not"}
