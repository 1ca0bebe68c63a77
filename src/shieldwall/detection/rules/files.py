"""Rules as files, to be kept with other code: YAML documents, each a rule with its examples.

``docs/detection-rules.md`` describes the format. A mistake is told with the line of the field that has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from shieldwall.detection.rules.actions import read_actions
from shieldwall.detection.rules.checking import DAY, HOUR, MINUTE, check
from shieldwall.detection.rules.decision import Decision
from shieldwall.detection.rules.rule import CONTINUOUS, Rule, Source
from shieldwall.detection.sigma.documents import Document, UnreadableError, documents
from shieldwall.errors import ApiError
from shieldwall.telemetry.schema import TABLES

SUFFIXES = (".yaml", ".yml")
FILES_LIMIT = 20_000
ROWS_LIMIT = 1000
"""Most rows of one example."""

_NAMESPACE = uuid5(NAMESPACE_URL, "https://shieldwall.example/detection-rules")
_UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}
_TIME = re.compile(r"(\d{1,5})\s*([mhd])")

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of one example by hunting table."""


@dataclass(frozen=True)
class Example:
    """Rows that are stored together, and where they stand."""

    rows: Rows
    line: int


@dataclass(frozen=True)
class RuleFile:
    """A rule out of a file, with what the file decides about it and its examples."""

    path: str
    line: int
    rule: Rule
    decision: Decision
    matches: tuple[Example, ...]
    ignores: tuple[Example, ...]


@dataclass(frozen=True)
class FileProblem(Exception):
    """What is wrong with a file. ``line`` counts from 1; 0 where no line is to blame."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}" if self.line else f"{self.path}: {self.reason}"


def read_folder(path: Path, source: Source = "Custom") -> tuple[list[RuleFile], list[FileProblem]]:
    """The rules of a file, or of all YAML files under a folder, and what is wrong with the others."""
    found: list[RuleFile] = []
    problems: list[FileProblem] = []
    paths = sorted(item for item in path.rglob("*") if item.suffix in SUFFIXES) if path.is_dir() else [path]
    if len(paths) > FILES_LIMIT:
        return [], [FileProblem(str(path), 0, f"there are more than {FILES_LIMIT} files")]
    for item in paths:
        try:
            content = item.read_bytes()
        except OSError as error:
            problems.append(FileProblem(str(item), 0, error.strerror or str(error)))
            continue
        rules, wrong = read_rules(content, str(item), source)
        found += rules
        problems += wrong
    return found, problems + twice(found)


def read_rules(
    content: bytes, path: str, source: Source = "Custom", *, trusted: bool = False
) -> tuple[list[RuleFile], list[FileProblem]]:
    """The rules in a file's bytes, and what is wrong with the others. Queries of ``trusted`` rules are not
    compiled."""
    try:
        read = documents(content)
    except UnreadableError as error:
        return [], [FileProblem(path, error.line, str(error))]
    found: list[RuleFile] = []
    problems: list[FileProblem] = []
    for document in read:
        try:
            found.append(_Reader(document, path, source).rule(trusted))
        except FileProblem as problem:
            problems.append(problem)
    return found, problems


def twice(rules: Iterable[RuleFile]) -> list[FileProblem]:
    """Rules with an id or a name that one before has."""
    problems = []
    seen: dict[tuple[str, str], RuleFile] = {}
    for item in rules:
        for field, value in (("id", item.rule.id), ("name", item.rule.name.lower())):
            first = seen.setdefault((field, value), item)
            if first is not item:
                problems.append(
                    FileProblem(item.path, item.line, f"{field}: {first.path}:{first.line} has the same")
                )
    return problems


class _Reader:
    """One document; each `_...` reads a field or raises a `FileProblem` with its line."""

    def __init__(self, document: Document, path: str, source: Source) -> None:
        self._document, self._path, self._source = document, path, source

    def rule(self, trusted: bool) -> RuleFile:
        data = self._document.data
        if unknown := [name for name in data if name not in _FIELDS]:
            raise self._problem(unknown[0], f"{unknown[0][:100]!r} is none of {', '.join(_FIELDS)}")
        for name in ("name", "query"):
            if name not in data:
                raise FileProblem(self._path, self._document.line(""), f"{name} is missing")
        name = self._text("name")
        given = {
            "id": self._text("id") or str(uuid5(_NAMESPACE, name.lower())),
            "name": name,
            "query": self._text("query"),
            "title": self._text("title") or name,
            "severity": self._text("severity", "Medium").capitalize(),
            "category": self._text("category", "SuspiciousActivity"),
            "techniques": tuple(self._texts("techniques")),
            "description": self._text("description").strip(),
            "recommended_action": self._text("recommended_action").strip(),
            "period": self._time("frequency", CONTINUOUS),
            "lookback": self._time("lookback", None),
            "entities": self._pairs("entities"),
            "details": self._pairs("details"),
            "source": self._source,
        }
        rule = Rule(**given)
        if not trusted:
            self._checked(lambda: check(rule))
        examples = self._mapping("examples")
        if unknown := sorted(set(examples) - {"matches", "ignores"}):
            raise self._problem(f"examples.{unknown[0]}", "examples has matches and ignores only")
        return RuleFile(
            self._path,
            self._document.line("name"),
            rule,
            self._decision(),
            self._examples("matches", examples),
            self._examples("ignores", examples),
        )

    def _decision(self) -> Decision:
        """What the file says of it; what it does not name stays as it is decided elsewhere."""
        data = self._document.data
        enabled = data.get("enabled", ...)
        if enabled is not ... and not isinstance(enabled, bool):
            raise self._problem("enabled", "enabled must be true or false")
        groups = self._texts("device_groups") if "device_groups" in data else ...
        actions: Any = ...
        if "actions" in data:
            actions = self._checked(lambda: read_actions(data["actions"] or []), "actions")
        return Decision(enabled=enabled, device_groups=groups, actions=actions)

    def _examples(self, kind: str, examples: Mapping[str, Any]) -> tuple[Example, ...]:
        listed = examples.get(kind) or []
        where = f"examples.{kind}"
        if not isinstance(listed, list):
            raise self._problem(where, f"{where} must be a list")
        found = []
        for number, item in enumerate(listed, 1):
            said = f"{where}, number {number}"
            if not isinstance(item, dict) or not item:
                raise self._problem(where, f"{said}: must have rows under the name of a table")
            rows: dict[str, Sequence[Mapping[str, Any]]] = {}
            for table, given in item.items():
                if table not in TABLES:
                    raise self._problem(where, f"{said}: there is no table {str(table)[:60]!r}")
                several = given if isinstance(given, list) else [given]
                if len(several) > ROWS_LIMIT:
                    raise self._problem(where, f"{said}: more than {ROWS_LIMIT} rows")
                for row in several:
                    self._check_row(where, said, table, row)
                rows[table] = several
            found.append(Example(rows, self._document.line(where)))
        return tuple(found)

    def _check_row(self, where: str, said: str, table: str, row: Any) -> None:
        if not isinstance(row, dict):
            raise self._problem(where, f"{said}: a row of {table} must be a mapping")
        known = {column.name for column in TABLES[table].columns}
        if unknown := [name for name in row if name not in known]:
            raise self._problem(where, f"{said}: {table} has no column {unknown[0][:60]!r}")

    def _text(self, name: str, default: str = "") -> str:
        value = self._document.data.get(name, default)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._problem(name, f"{name} must be text")
        return value

    def _texts(self, name: str) -> list[str]:
        value = self._document.data.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._problem(name, f"{name} must be a list of texts")
        return value

    def _mapping(self, name: str) -> dict[str, Any]:
        value = self._document.data.get(name) or {}
        if not isinstance(value, dict):
            raise self._problem(name, f"{name} must be a mapping")
        return value

    def _pairs(self, name: str) -> dict[str, str]:
        value = self._mapping(name)
        if wrong := [key for key, item in value.items() if not isinstance(item, str)]:
            raise self._problem(f"{name}.{wrong[0]}", f"{name}.{wrong[0]} must be the name of a column")
        return value

    def _time(self, name: str, default: int | None) -> Any:
        """Minutes."""
        value = self._document.data.get(name)
        if value is None:
            return default
        if name == "frequency" and str(value).lower() == "continuous":
            return CONTINUOUS
        found = _TIME.fullmatch(str(value).strip().lower())
        if found is None:
            also = "continuous, or " if name == "frequency" else ""
            raise self._problem(name, f"{name} must be {also}a time such as 30m, 12h or 7d")
        return int(found[1]) * _UNITS[found[2]]

    def _checked(self, work: Callable[[], Any], field: str | None = None) -> Any:
        try:
            return work()
        except ApiError as error:
            name = field or re.split(r"[ :\[]", error.message, maxsplit=1)[0]
            name = {"period": "frequency"}.get(name, name)
            if (inner := re.search(r" Line (\d+), column (\d+)\.$", error.message)) is not None:
                raise self._problem("query", error.message, int(inner[1])) from None
            raise self._problem(name, error.message) from None

    def _problem(self, field: str, reason: str, inner: int = 0) -> FileProblem:
        return FileProblem(self._path, self._document.line(field) + inner, reason)


_FIELDS = (
    "id",
    "name",
    "title",
    "description",
    "severity",
    "category",
    "techniques",
    "recommended_action",
    "frequency",
    "lookback",
    "entities",
    "details",
    "enabled",
    "device_groups",
    "actions",
    "query",
    "examples",
)
