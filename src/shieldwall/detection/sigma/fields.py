"""How KQL reads a field of a Sigma rule, and conditions on it that mean exactly what Sigma means."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from shieldwall.detection.sigma.literals import member, quoted

Kind = Literal["text", "number", "bool", "time", "dynamic"]

LEAST_GUARD = 3
"""Characters of a text that is worth looking for before a regular expression is."""
_META = re.compile(r"([\\.+*?()|\[\]{}^$#&~-])")
_HASH = re.compile(r"(MD5|SHA1|SHA256)=([0-9a-fA-F]+)", re.IGNORECASE)
_IMPHASH = re.compile(r"IMPHASH=([0-9a-f]{32})", re.IGNORECASE)
_SIZES = {"MD5": 32, "SHA1": 40, "SHA256": 64}


class Wildcard(Enum):
    """Of a Sigma string, with the regular expression that it is."""

    ANY = ".*"
    ONE = "."


Piece = str | Wildcard
"""Of a Sigma string: text as it is, or a wildcard."""


@dataclass(frozen=True)
class Field:
    """An expression of KQL and its kind; ``dynamic`` is a member of JSON."""

    expression: str
    kind: Kind = "text"

    @property
    def string(self) -> str:
        """The field as a value of type string; empty where it is missing."""
        return self.expression if self.kind == "text" else f"tostring({self.expression})"

    def is_missing(self) -> str:
        """That the event has no such field. A column of text is empty then."""
        return f"{'isempty' if self.kind == 'text' else 'isnull'}({self.expression})"

    def is_there(self) -> str:
        return f"{'isnotempty' if self.kind == 'text' else 'isnotnull'}({self.expression})"

    def matches(self, pieces: Sequence[Piece], *, cased: bool = False) -> str:
        """That the whole field is what a Sigma string with wildcards describes."""
        pieces = merged(pieces)
        if not pieces:
            return self._is_empty()
        if pieces == [Wildcard.ANY]:
            return self.is_there()
        operator = _OPERATORS.get(tuple(piece if isinstance(piece, Wildcard) else "" for piece in pieces))
        if operator is None:
            return self._by_pattern(pieces, cased=cased)
        text = next(piece for piece in pieces if isinstance(piece, str))
        if operator == "=~":
            return self.equals(text, cased=cased)
        return f"{self.expression} {operator}{'_cs' if cased else ''} {quoted(text)}"

    def equals(self, text: str, *, cased: bool = False) -> str:
        """That it is just this text; a number where the column is one."""
        if self.kind == "number" and is_number(text):
            return f"{self.expression} == {text}"
        if cased or not any(char.isalpha() for char in text):
            value = self.expression if self.kind == "dynamic" else self.string
            return f"{value} == {quoted(text)}"
        return f"{self.expression} =~ {quoted(text)}"

    def is_one_of(self, texts: Sequence[str]) -> str:
        """That it is one of several texts, whatever their case."""
        if self.kind == "number" and all(map(is_number, texts)):
            return f"{self.expression} in ({', '.join(texts)})"
        # A list is folded as ASCII only.
        plain = [text for text in texts if text.isascii()]
        parts = [self.equals(text) for text in texts if not text.isascii()]
        if len(plain) == 1:
            parts.insert(0, self.equals(plain[0]))
        elif plain:
            operator = "in~" if any(char.isalpha() for text in plain for char in text) else "in"
            parts.insert(0, f"{self.string} {operator} ({', '.join(map(quoted, plain))})")
        return parts[0] if len(parts) == 1 else f"({' or '.join(parts)})"

    def is_any_of(self, values: Sequence[Sequence[Piece]]) -> list[str]:
        """Conditions of which one holds when the field is what one of several Sigma strings describes."""
        texts = []
        found = []
        for value in map(merged, values):
            (text,) = value if len(value) == 1 else (None,)
            if isinstance(text, str):
                texts.append(text)
            else:
                found.append(self.matches(value))
        if len(texts) > 1:
            return [self.is_one_of(texts), *found]
        return [*map(self.equals, texts), *found]

    def compares(self, operator: str, number: str) -> str:
        """A comparison with a number; null where the field is none."""
        value = self.expression if self.kind == "number" else f"todouble({self.expression})"
        return f"{value} {operator} {number}"

    def fits(self, pattern: str) -> str:
        """That a regular expression matches somewhere in it."""
        return f"{self.expression} matches regex {quoted(pattern)}"

    def _is_empty(self) -> str:
        if self.kind == "text":
            return f"isempty({self.expression})"
        if self.kind == "dynamic":
            return f'(isnotnull({self.expression}) and tostring({self.expression}) == "")'
        return "false"

    def _by_pattern(self, pieces: Sequence[Piece], *, cased: bool) -> str:
        start = "" if pieces[0] is Wildcard.ANY else "^"
        end = "" if pieces[-1] is Wildcard.ANY else "$"
        inner = "".join(
            escaped(piece) if isinstance(piece, str) else piece.value
            for place, piece in enumerate(pieces)
            if piece is not Wildcard.ANY or 0 < place < len(pieces) - 1
        )
        found = self.fits(f"{'(?s)' if cased else '(?is)'}{start}{inner}{end}")
        longest = max((piece for piece in pieces if isinstance(piece, str)), key=len, default="")
        if len(longest) < LEAST_GUARD:
            return found
        return f"({self.expression} contains{'_cs' if cased else ''} {quoted(longest)} and {found})"


@dataclass(frozen=True)
class Account(Field):
    """``DOMAIN\\name`` of two columns; the name alone where the domain is empty."""

    domain: str = ""
    name: str = ""

    @classmethod
    def of(cls, domain: str, name: str) -> Account:
        whole = f'iff(isempty({domain}), {name}, strcat({domain}, @"\\", {name}))'
        return cls(whole, "text", domain, name)

    def matches(self, pieces: Sequence[Piece], *, cased: bool = False) -> str:
        pieces = merged(pieces)
        texts = [piece for piece in pieces if isinstance(piece, str)]
        contains = len(pieces) == 3 and pieces[0] is pieces[2] is Wildcard.ANY
        if not cased and contains and len(texts) == 1 and "\\" not in texts[0]:
            domain, name = Field(self.domain), Field(self.name)
            return f"({domain.matches(pieces)} or {name.matches(pieces)})"
        return super().matches(pieces, cased=cased)

    def is_missing(self) -> str:
        return f"isempty({self.name})"

    def is_there(self) -> str:
        return f"isnotempty({self.name})"

    def equals(self, text: str, *, cased: bool = False) -> str:
        domain, slash, name = text.partition("\\")
        if not slash:
            return f"(isempty({self.domain}) and {Field(self.name).equals(text, cased=cased)})"
        if not domain or not name:
            return super().equals(text, cased=cased)
        known = Field(self.domain).equals(domain, cased=cased)
        return f"({known} and {Field(self.name).equals(name, cased=cased)})"

    def is_one_of(self, texts: Sequence[str]) -> str:
        return f"({' or '.join(map(self.equals, texts))})"


@dataclass(frozen=True)
class Known(Field):
    """A field that has the same value in all rows: conditions on it are ``true`` or ``false``."""

    value: str = ""

    @classmethod
    def of(cls, value: str) -> Known:
        return cls(quoted(value), "text", value)

    def matches(self, pieces: Sequence[Piece], *, cased: bool = False) -> str:
        parts = (re.escape(piece) if isinstance(piece, str) else piece.value for piece in pieces)
        flags = re.DOTALL if cased else re.DOTALL | re.IGNORECASE
        return _truth(re.fullmatch("".join(parts), self.value, flags) is not None)

    def is_missing(self) -> str:
        return _truth(False)

    def is_there(self) -> str:
        return _truth(True)

    def equals(self, text: str, *, cased: bool = False) -> str:
        return self.matches([text], cased=cased)

    def is_one_of(self, texts: Sequence[str]) -> str:
        return _truth(self.value.lower() in map(str.lower, texts))


def _truth(holds: bool) -> str:
    return "true" if holds else "false"


@dataclass(frozen=True)
class Hashes(Field):
    """``SHA1=...,MD5=...``: a whole hash that a rule looks for is looked up in its own column."""

    columns: tuple[str, ...] = ()
    """Of SHA1, SHA256 and MD5."""

    def matches(self, pieces: Sequence[Piece], *, cased: bool = False) -> str:
        found = self._whole(pieces)
        return self._in([found]) if found else super().matches(pieces, cased=cased)

    def is_any_of(self, values: Sequence[Sequence[Piece]]) -> list[str]:
        whole: dict[str, list[tuple[str, str]]] = {}
        others = []
        for value in values:
            if found := self._whole(value):
                whole.setdefault(found[0], []).append(found)
            else:
                others.append(value)
        return [*map(self._in, whole.values()), *self._by_import(others)]

    def _by_import(self, values: Sequence[Sequence[Piece]]) -> list[str]:
        """Hashes of imports have no column; many of them are looked for in one go."""
        texts = [_import_hash(value) for value in values]
        found = [text for text in texts if text]
        if len(found) < 2:
            return super().is_any_of(values)
        others = [value for value, text in zip(values, texts, strict=True) if not text]
        told = f'extract("(?i)IMPHASH=([0-9a-f]{{32}})", 1, {self.string})'
        return [f"{told} in~ ({', '.join(map(quoted, found))})", *super().is_any_of(others)]

    def _whole(self, pieces: Sequence[Piece]) -> tuple[str, str] | None:
        """The column and the hash, if it is a whole one that may stand anywhere."""
        pieces = merged(pieces)
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        found = _HASH.fullmatch(text)
        if not found or len(found[2]) != _SIZES[found[1].upper()] or not pieces[0] is pieces[-1] is _ANY:
            return None
        return self.columns[("SHA1", "SHA256", "MD5").index(found[1].upper())], found[2].lower()

    @staticmethod
    def _in(some: Sequence[tuple[str, str]]) -> str:
        column = some[0][0]
        if len(some) == 1:
            return f"{column} =~ {quoted(some[0][1])}"
        return f"{column} in~ ({', '.join(quoted(text) for _, text in some)})"


@dataclass(frozen=True)
class Unnamed(Field):
    """Values without a name: one text, or a list of texts, of which one is what a rule looks for.

    A list is searched as the JSON that it is, in which some characters are written in another way.
    """

    @classmethod
    def of(cls, column: str, name: str) -> Unnamed:
        whole = member(column, name)
        return cls(f"coalesce({member(whole, '#text')}, {whole})", "dynamic")

    def matches(self, pieces: Sequence[Piece], *, cased: bool = False) -> str:
        pieces = merged(pieces)
        whole = Field(self.expression, self.kind)
        found = [whole.matches(pieces, cased=cased)]
        listed: list[Piece] = [_in_json(piece) if isinstance(piece, str) else piece for piece in pieces]
        if not listed or pieces == [_ANY]:
            return found[0]
        start: list[Piece] = [] if listed[0] is _ANY else [_ANY, '"']
        end: list[Piece] = [] if listed[-1] is _ANY else ['"', _ANY]
        if start or end or listed != pieces:
            found.append(whole.matches([*start, *listed, *end], cased=cased))
        return f"({' or '.join(found)})" if len(found) > 1 else found[0]

    def equals(self, text: str, *, cased: bool = False) -> str:
        return self.matches([text], cased=cased)

    def is_one_of(self, texts: Sequence[str]) -> str:
        return f"({' or '.join(map(self.equals, texts))})"


_ANY = Wildcard.ANY
_OPERATORS = {
    ("",): "=~",
    (_ANY, "", _ANY): "contains",
    ("", _ANY): "startswith",
    (_ANY, ""): "endswith",
}


def escaped(text: str) -> str:
    """The regular expression of a text."""
    return _META.sub(r"\\\1", text)


def _import_hash(pieces: Sequence[Piece]) -> str:
    """The hash where a whole ``IMPHASH=...`` may stand anywhere, else nothing."""
    pieces = merged(pieces)
    if len(pieces) != 3 or not pieces[0] is pieces[2] is _ANY or not isinstance(pieces[1], str):
        return ""
    found = _IMPHASH.fullmatch(pieces[1])
    return found[1].lower() if found else ""


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """With texts that follow each other as one, and several ``*`` as one."""
    found: list[Piece] = []
    for piece in pieces:
        before = found[-1] if found else None
        if isinstance(piece, str) and isinstance(before, str):
            found[-1] = before + piece
        elif piece != "" and not (piece is _ANY and before is _ANY):
            found.append(piece)
    return found


def is_number(text: str) -> bool:
    """Whether it is how a whole number that fits into a long is written."""
    return text.isascii() and text.isdigit() and len(text) < 19 and str(int(text)) == text
