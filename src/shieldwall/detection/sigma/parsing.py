"""From a file to the rules in it, as pySigma has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from sigma.collection import deep_dict_update
from sigma.correlations import SigmaCorrelationRule
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from shieldwall.detection.sigma.documents import Document, documents
from shieldwall.detection.sigma.refusals import FAILURES

_OF_TEXT = {
    "contains", "startswith", "endswith", "cased", "re", "base64", "base64offset", "wide", "windash",
}  # fmt: skip
"""Modifiers that pySigma takes no numbers for."""


@dataclass(frozen=True)
class File:
    """A text of rules and what it is called."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Failed:
    """A document that is no rule."""

    path: str
    document: Document
    error: Exception


@dataclass
class Parsed:
    """One rule of a file. What a filter or a pipeline changes, it changes in ``rule``."""

    path: str
    text: str
    document: Document
    rule: SigmaRule | SigmaCorrelationRule | SigmaFilter


def parse(file: File) -> Iterator[Parsed | Failed]:
    """The rules of a file. UnreadableError where it is no YAML of rules at all."""
    found = documents(file.content)
    lines = file.content.decode("utf-8-sig").splitlines(keepends=True)
    for document, data in _actions(found):
        first, last = document.node.start_mark.line, document.node.end_mark.line
        text = "".join(lines[first : last + 1] if len(found) > 1 else lines)
        try:
            yield Parsed(file.path, text, document, _rule(data))
        except FAILURES as error:
            yield Failed(file.path, document, error)


def _actions(found: Sequence[Document]) -> Iterator[tuple[Document, dict[str, Any]]]:
    """Documents as rules; those with an ``action`` are parts of others, as older rules have it."""
    shared: dict[str, Any] = {}
    before: dict[str, Any] = {}
    for document in found:
        data = {key: value for key, value in document.data.items() if key != "action"}
        action = document.data.get("action")
        if action == "global":
            shared = before = data
        elif action == "reset":
            shared = {}
        elif action == "repeat":
            before = deep_dict_update(deepcopy(before), deepcopy(data))
            yield document, before
        elif "correlation" in data or "filter" in data:
            yield document, data
        else:
            before = deep_dict_update(deepcopy(data), deepcopy(shared)) if shared else data
            yield document, before


def _rule(data: dict[str, Any]) -> SigmaRule | SigmaCorrelationRule | SigmaFilter:
    if "correlation" in data:
        return SigmaCorrelationRule.from_dict(data)
    if "filter" in data:
        return SigmaFilter.from_dict({**data, "filter": _texts(data["filter"])})
    return SigmaRule.from_dict({**data, "detection": _texts(data.get("detection"))})


def _texts(definition: Any, modifiers: Collection[str] = ()) -> Any:
    """A detection with numbers as text where a modifier is for text."""
    if isinstance(definition, dict):
        return {key: _texts(value, str(key).split("|")[1:]) for key, value in definition.items()}
    if isinstance(definition, list):
        return [_texts(part, modifiers) for part in definition]
    number = isinstance(definition, int | float) and not isinstance(definition, bool)
    return str(definition) if number and not _OF_TEXT.isdisjoint(modifiers) else definition
