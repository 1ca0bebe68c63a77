"""Sigma on plain event dicts, slow and plain to see through: what the product is compared with.

It shares no code with the product nor with pySigma. An event maps names of fields to text, numbers, truth
values or None; a list has several values, of which one has to match. Correlations are not its business.
"""

from __future__ import annotations

import base64
import fnmatch
import ipaddress
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

Event = Mapping[str, Any]
Test = Callable[[Any, Event], bool]
"""Says of one value of a field whether it is what the rule looks for; None stands for a missing one."""
Selection = Callable[[Event], bool]
Placeholders = Mapping[str, Sequence[str]]

STAR, MARK = object(), object()
"""The wildcards of a text: any characters, one character."""
_SIGNS: dict[Any, str] = {STAR: "\x01", MARK: "\x02"}
"""For them, where a text has to be one string."""


def evaluator(rule: Mapping[str, Any], placeholders: Placeholders | None = None) -> Selection:
    """Whether a rule, as its YAML reads, fires on one event of its log source."""
    detection = dict(rule["detection"])
    conditions = detection.pop("condition")
    detection.pop("timeframe", None)
    selections = {name: _selection(part, placeholders or {}) for name, part in detection.items()}
    texts = conditions if isinstance(conditions, list) else [conditions]

    def fires(event: Event) -> bool:
        return any(_Condition(text, selections, event).value() for text in texts)

    return fires


# Conditions


class _Condition:
    """``not`` binds more than ``and``, and that more than ``or``."""

    def __init__(self, text: str, selections: Mapping[str, Selection], event: Event) -> None:
        self._words = re.findall(r"\(|\)|[^\s()]+", text)
        self._selections = selections
        self._event = event

    def value(self) -> bool:
        found = self._or()
        assert not self._words, f"left over: {self._words}"
        return found

    def _or(self) -> bool:
        parts = [self._and()]
        while self._words and self._words[0].lower() == "or":
            self._words.pop(0)
            parts.append(self._and())
        return any(parts)

    def _and(self) -> bool:
        parts = [self._not()]
        while self._words and self._words[0].lower() == "and":
            self._words.pop(0)
            parts.append(self._not())
        return all(parts)

    def _not(self) -> bool:
        if self._words[0].lower() == "not":
            self._words.pop(0)
            return not self._not()
        return self._one()

    def _one(self) -> bool:
        word = self._words.pop(0)
        if word == "(":
            found = self._or()
            assert self._words.pop(0) == ")"
            return found
        if word.lower() in ("1", "any", "all") and self._words and self._words[0].lower() == "of":
            self._words.pop(0)
            pattern = self._words.pop(0)
            pattern = "*" if pattern == "them" else pattern
            names = [
                name
                for name in self._selections
                if fnmatch.fnmatchcase(name, pattern) and not name.startswith("_")
            ]
            assert names, f"nothing is named {pattern}"
            return (all if word.lower() == "all" else any)(
                [self._selections[name](self._event) for name in names]
            )
        return self._selections[word](self._event)


# Selections


def _selection(definition: Any, placeholders: Placeholders) -> Selection:
    if isinstance(definition, Mapping):
        items = [_item(key, value, placeholders) for key, value in definition.items()]
        return lambda event: all(item(event) for item in items)
    if isinstance(definition, list):
        parts = [_selection(part, placeholders) for part in definition]
        return lambda event: any(part(event) for part in parts)
    return _item("", definition, placeholders)


def _item(key: str, given: Any, placeholders: Placeholders) -> Selection:
    field, *modifiers = str(key).split("|")
    values = given if isinstance(given, list) else [given]
    anywhere = [] if field or "re" in modifiers else ["contains"]
    tests = [_tests(value, [*modifiers, *anywhere], placeholders) for value in values]
    all_or_any = all if "all" in modifiers else any

    def holds(event: Event) -> bool:
        if field:
            found = event.get(field)
            held = found if isinstance(found, list) and found else [found]
        else:
            held = [value for value in _every(event) if value is not None]
        outcome = all_or_any(any(test(value, event) for test in some for value in held) for some in tests)
        return not outcome if "neq" in modifiers else outcome

    return holds


def _every(value: Any) -> list[Any]:
    """All values of an event, also of what is nested."""
    if isinstance(value, Mapping):
        return [inner for part in value.values() for inner in _every(part)]
    if isinstance(value, list):
        return [inner for part in value for inner in _every(part)]
    return [value]


# Values


def _tests(value: Any, modifiers: list[str], placeholders: Placeholders) -> list[Test]:
    """Tests of which one has to hold."""
    names = set(modifiers)
    if "exists" in names:
        return [lambda held, _: (held is not None) == bool(value)]
    if value is None:
        return [lambda held, _: held is None]
    if "fieldref" in names:
        return [lambda held, event: _alike(held, event.get(str(value)), names)]
    if "re" in names:
        given = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
        pattern = re.compile(str(value), sum(flag for name, flag in given.items() if name in names))
        return [lambda held, _: held is not None and pattern.search(_text(held)) is not None]
    if "cidr" in names:
        return [_inside(ipaddress.ip_network(str(value)))]
    for name in names & set(_COMPARISONS):
        return [_compared(_COMPARISONS[name], value)]
    for name in names & set(_TIMES):
        return [_at(_TIMES[name], value)]
    texts: list[list[Any]] = [_parsed(_text(value))]
    for modifier in modifiers:
        texts = [changed for text in texts for changed in _changed(text, modifier, placeholders)]
    return [_whole(text, cased="cased" in names) for text in texts]


def _whole(text: list[Any], *, cased: bool) -> Test:
    pattern = "".join(".*" if part is STAR else "." if part is MARK else re.escape(part) for part in text)
    compiled = re.compile(pattern, re.DOTALL | (0 if cased else re.IGNORECASE))
    return lambda held, _: held is not None and compiled.fullmatch(_text(held)) is not None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _parsed(text: str) -> list[Any]:
    """Characters and wildcards; a backslash before one of ``*?\\`` takes its meaning away."""
    found: list[Any] = []
    place = 0
    while place < len(text):
        char = text[place]
        following = text[place + 1 : place + 2]
        if char == "\\" and following and following in "*?\\":
            found.append(following)
            place += 2
            continue
        found.append({"*": STAR, "?": MARK}.get(char, char))
        place += 1
    return found


def _changed(text: list[Any], modifier: str, placeholders: Placeholders) -> list[list[Any]]:
    if modifier == "contains":
        return [[STAR, *text, STAR]]
    if modifier == "startswith":
        return [[*text, STAR]]
    if modifier == "endswith":
        return [[STAR, *text]]
    if modifier == "windash":
        return _dashes(text)
    if modifier == "expand":
        whole = "".join(_SIGNS.get(part, part) for part in text)
        names = re.findall("%([^%]+)%", whole)
        choices = itertools.product(*(placeholders[name] for name in names))
        return [_expanded(whole, dict(zip(names, chosen, strict=True))) for chosen in choices]
    plain = "".join(part for part in text if isinstance(part, str))
    if modifier == "wide":
        return [list("".join(f"{char}\0" for char in plain))]
    if modifier == "base64":
        return [list(base64.b64encode(plain.encode()).decode())]
    if modifier == "base64offset":
        return [list(_encoded(plain.encode(), offset)) for offset in range(3)]
    return [text]


def _expanded(text: str, values: Mapping[str, str]) -> list[Any]:
    for name, value in values.items():
        text = text.replace(f"%{name}%", value)
    wildcards = {sign: part for part, sign in _SIGNS.items()}
    return [wildcards.get(char, char) for char in text]


def _dashes(text: list[Any]) -> list[list[Any]]:
    """With each dash that begins a word as any dash that Windows takes for one."""
    whole = "".join(_SIGNS.get(part, part) for part in text)
    places = [found.start() for found in re.finditer(r"\B[-/]\b", whole)]
    found = []
    for chosen in itertools.product("-/\u2013\u2014\u2015", repeat=len(places)):
        changed = list(text)
        for place, dash in zip(places, chosen, strict=True):
            changed[place] = dash
        found.append(changed)
    return found


def _encoded(data: bytes, offset: int) -> str:
    """The characters of Base64 that are the same whatever stands before, at an offset, and behind."""
    ways = [
        base64.b64encode(bytes([before]) * offset + data + bytes([behind]) * 3).decode()
        for before, behind in itertools.product((0, 0x55, 0xAA, 0xFF), repeat=2)
    ]
    size = -(-(offset + len(data)) * 8 // 6)
    same = [chars[0] if len(set(chars)) == 1 else "\0" for chars in zip(*ways, strict=True)][:size]
    return "".join(same).strip("\0")


def _alike(held: Any, other: Any, names: set[str]) -> bool:
    if held is None or other is None:
        return False
    mine, theirs = _text(held).lower(), _text(other).lower()
    if "contains" in names or {"startswith", "endswith"} <= names:
        return theirs in mine
    if "startswith" in names:
        return mine.startswith(theirs)
    return mine.endswith(theirs) if "endswith" in names else mine == theirs


def _inside(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Test:
    def test(held: Any, _: Event) -> bool:
        try:
            return ipaddress.ip_address(_text(held)) in network
        except ValueError:
            return False

    return test


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda held, value: held < value,
    "lte": lambda held, value: held <= value,
    "gt": lambda held, value: held > value,
    "gte": lambda held, value: held >= value,
}
_TIMES: dict[str, Callable[[datetime], int]] = {
    "minute": lambda at: at.minute,
    "hour": lambda at: at.hour,
    "day": lambda at: at.day,
    "week": lambda at: at.isocalendar().week,
    "month": lambda at: at.month,
    "year": lambda at: at.year,
}


def _compared(compare: Callable[[Any, Any], bool], value: Any) -> Test:
    return lambda held, _: (number := _number(held)) is not None and compare(number, value)


def _at(part: Callable[[datetime], int], value: Any) -> Test:
    return lambda held, _: (at := _time(held)) is not None and part(at) == value


def _number(held: Any) -> float | None:
    try:
        return None if held is None or isinstance(held, bool) else float(held)
    except ValueError:
        return None


def _time(held: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(_text(held))
    except ValueError:
        return None
