"""From a product's record to the body of our schema: a table of fields, and their names for errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Record = Mapping[str, Any]
Source = str | Callable[[Record], Any]
"""Paths with ``|`` between them, of which the first with a value counts; or what makes a value itself."""

INTEGERS = frozenset(
    {"sourcePort", "destinationPort", "translatedSourcePort", "processId", "parentProcessId", "eventCount"}
)
AS_THEY_ARE = frozenset({"time", "lastTime", "startTime", "creationTime", "techniques"})


class Mapped:
    """A body in our schema, with the product's name of each field in it."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {}
        self.names: dict[str, str] = {}

    def put(self, target: str, value: Any, name: str = "") -> None:
        """Set a field by its path in our schema, such as ``files.0.sha256``."""
        *folders, last = target.split(".")
        value = _fitting(last, value)
        if value is None:
            return
        place: Any = self.body
        for folder, below in zip(folders, [*folders[1:], last], strict=False):
            empty: Any = [] if below.isdigit() else {}
            if isinstance(place, list):
                index = min(int(folder), len(place))
                if index == len(place):
                    place.append(empty)
                place = place[index]
            else:
                place = place.setdefault(folder, empty)
        if isinstance(place, list):
            place.append(value)
        else:
            place[last] = value
        if name:
            self.names[target] = name

    def name_of(self, field: str) -> str:
        """What the product calls the field that an error names: ``files[0].sha256`` is ``files.0.sha256``."""
        plain = field.replace("[", ".").replace("]", "")
        while plain:
            if plain in self.names:
                return self.names[plain]
            plain = plain.rpartition(".")[0]
        return field


def mapped(record: Record, fields: Mapping[str, Source]) -> Mapped:
    """The body of a record by a table from paths in our schema to where the record has the value."""
    found = Mapped()
    for target, source in fields.items():
        if isinstance(source, str):
            for path in source.split(" | "):
                value = get(record, path)
                if not _is_empty(value):
                    found.put(target, value, path)
                    break
        else:
            found.put(target, source(record))
    return found


def get(record: Any, path: str) -> Any:
    """The value at a path of names with dots, which a name itself may have too; None where there is none."""
    if not path:
        return record
    if isinstance(record, Mapping):
        if path in record:
            return record[path]
        # The longest name first: `id.orig_h` is one name in one product and two in another.
        parts = path.split(".")
        for end in range(len(parts) - 1, 0, -1):
            head = ".".join(parts[:end])
            if head in record:
                return get(record[head], ".".join(parts[end:]))
    elif isinstance(record, list):
        head, _, rest = path.partition(".")
        if head.isdigit() and int(head) < len(record):
            return get(record[int(head)], rest)
    return None


def text(value: Any) -> str:
    """A scalar as text; anything else is none."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def join(*parts: Any, separator: str = "\n") -> str | None:
    """The texts among ``parts``, cut to what a description holds."""
    return separator.join(filter(None, map(text, parts)))[:9_000] or None


def first(value: Any) -> Any:
    """The value, or the first of a list."""
    return (value[0] if value else None) if isinstance(value, list) else value


def many(value: Any) -> list[Any]:
    """The list, or a list of the one value; empty where there is none."""
    if isinstance(value, list):
        return value
    return [] if _is_empty(value) else [value]


def techniques(value: Any) -> list[str]:
    """The ATT&CK techniques among texts such as ``T1059.004`` or ``attack.t1059``."""
    found = []
    for item in many(value):
        word = text(item).rpartition("attack.")[2].strip().upper()
        base, _, sub = word.partition(".")
        if len(base) == 5 and base[0] == "T" and base[1:].isdigit() and (not sub or sub.isdigit()):
            found.append(f"{base}.{sub:0>3}" if sub else base)
    return list(dict.fromkeys(found))


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", "-") or value in ([], {})


def _fitting(name: str, value: Any) -> Any:
    """Numbers and texts as our schema has them: products write the one for the other."""
    if _is_empty(value):
        return None
    if name in AS_THEY_ARE:
        return value
    if name in INTEGERS:
        return (
            int(value) if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20 else value
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value
