"""Regular expressions: from Kusto's syntax, that of Rust's regex crate, to that of RE2 in ClickHouse.

What both share passes as it is written. ``\\d``, ``\\w``, ``\\s`` and ``\\b`` are of ASCII.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, NoReturn

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.values import Value

MOST_REPEATS = 1000
"""How often RE2 lets a part be repeated by count, nested counts multiplied."""

_CLASSES = {
    "Letter": "L", "Alphabetic": "L", "Lowercase_Letter": "Ll", "Lowercase": "Ll", "Uppercase_Letter": "Lu",
    "Uppercase": "Lu", "Mark": "M", "Number": "N", "Decimal_Number": "Nd", "Punctuation": "P", "Symbol": "S",
    "Separator": "Z", "White_Space": "Z", "Other": "C", "Control": "Cc",
}  # fmt: skip
_CATEGORIES = re.compile(
    "Any|L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfos]?|Arabic|Armenian|Bengali|Bopomofo|"
    "Braille|Cherokee|Common|Coptic|Cyrillic|Devanagari|Ethiopic|Georgian|Gothic|Greek|Gujarati|Gurmukhi|Han|"
    "Hangul|Hebrew|Hiragana|Inherited|Kannada|Katakana|Khmer|Lao|Latin|Malayalam|Mongolian|Myanmar|Oriya|"
    "Sinhala|Syriac|Tamil|Telugu|Thaana|Thai|Tibetan|Yi"
)
"""General categories and scripts that ``\\p`` may name."""
_COUNT = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_GROUP = re.compile(r"\(\?(?:P?<([^>!=][^>]*)>|([A-Za-z]*)(?:-([A-Za-z]+))?([:)]))")
_HEX = re.compile(r"(?:u\{([0-9a-fA-F]+)\}|U\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_WORD_EDGE = re.compile(r"\{(?:start|end)(?:-half)?\}")
_OCTAL = re.compile("[0-7]{2,3}")
_BYTE = re.compile(r"[0-9a-fA-F]{2}|\{[0-9a-fA-F]+\}")
_UNICODE_CLASS = re.compile(r"\\([pP])(?:\{(\^?)([^}]*)\}|(\w))")
_NAMED_CLASS = re.compile(r"\[:\^?\w+:\]")
_CODE = re.compile(r"\\x(?:\{([0-9a-fA-F]+)\}|([0-9a-fA-F]{2}))")
_CONTROLS = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v", "0": "\0"}
_META = re.compile(r"([\\.+*?()|\[\]{}^$#&~-])")


class Pattern(NamedTuple):
    """A regular expression in RE2's syntax, with its number of groups and the numbers of those with names."""

    text: str
    groups: int
    names: dict[str, int]


class PatternError(ValueError):
    """Text that is no regular expression."""


def escaped(text: str) -> str:
    """The regular expression that matches just this text."""
    return _META.sub(r"\\\1", text)


@lru_cache(maxsize=4096)
def translated(text: str) -> Pattern:
    """Kusto's regular expression in RE2's syntax. PatternError when it is none."""
    return _Translator(text).run()


def compiled(text: str, at: int) -> Pattern:
    """As `translated`, with a KqlError at ``at``."""
    try:
        return translated(text)
    except PatternError as error:
        raise KqlError(f"'{text[:80]}' is not a regular expression: {error}.", at, "SEM0420") from None


def pattern(value: Value, at: int = 0) -> str:
    """SQL of a regular expression. KqlError for a constant that is none."""
    if isinstance(value.constant, str):
        return sql.quote(compiled(value.constant, at).text)
    return f"concat('(?-s)', {value.sql})"


class _Translator:
    """One pass over the text. ``target`` is how often the last part repeats, 0 if nothing may be repeated."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.out: list[str] = []
        self.groups = 0
        self.names: dict[str, int] = {}
        self.open: list[tuple[int, bool]] = []
        self.verbose = False
        self.dots = False
        self.target = 0
        self.most = 1

    def run(self) -> Pattern:
        text, size = self.text, len(self.text)
        while self.place < size:
            char = text[self.place]
            step = _STEPS.get(char)
            if step is not None:
                step(self)
            elif self.verbose and char.isspace():
                self.place += 1
            else:
                self._part(char, 1)
        if self.open:
            self._fail("a '(' is not closed")
        # ClickHouse lets a dot match line ends unless told otherwise.
        return Pattern(("(?-s)" if self.dots else "") + "".join(self.out), self.groups, self.names)

    def _fail(self, message: str) -> NoReturn:
        raise PatternError(message)

    def _part(self, written: str, length: int) -> None:
        """Something that may be repeated."""
        self.out.append(written)
        self.place += length
        self.target = 1

    def _dot(self) -> None:
        self.dots = True
        self._part(".", 1)

    def _bar(self) -> None:
        self._part("|", 1)
        self.target = 0

    def _comment(self) -> None:
        if not self.verbose:
            return self._part("#", 1)
        end = self.text.find("\n", self.place)
        self.place = len(self.text) if end < 0 else end + 1

    def _repeat(self) -> None:
        """``*``, ``+``, ``?`` or a count."""
        found = _COUNT.match(self.text, self.place)
        if self.text[self.place] == "{" and found is None:
            return self._part(r"\{", 1)
        if not self.target:
            self._fail("there is nothing to repeat")
        length = 1
        if found is not None:
            low, high = int(found[1]), int(found[3] or found[1])
            if found[3] and high < low:
                self._fail("a count ends before it begins")
            self.most = max(self.most, self.target * max(low, high))
            if self.most > MOST_REPEATS:
                self._fail(f"parts may be repeated {MOST_REPEATS} times at most")
            length = len(found[0])
        end = self.place + length
        length += self.text[end : end + 1] == "?"
        self.out.append(self.text[self.place : self.place + length])
        self.place += length
        self.target = 0

    def _opened(self) -> None:
        if self.text[self.place + 1 : self.place + 2] != "?":
            self.groups += 1
            return self._push("(", 1)
        found = _GROUP.match(self.text, self.place)
        if found is None:
            self._fail("groups that look ahead or behind are not supported")
        name, on, off, end = found.groups()
        if name is not None:
            self.groups += 1
            self.names[name] = self.groups
            return self._push("(", len(found[0]))
        for flag in on + (off or ""):
            if flag not in "imsUuxR":
                self._fail(f"there is no flag '{flag}'")
        before = self.verbose
        self.verbose = "x" in on or (self.verbose and "x" not in (off or ""))
        kept = "".join(flag for flag in on if flag in "imsU")
        unset = "".join(flag for flag in off or "" if flag in "imsU")
        flags = kept + (f"-{unset}" if unset else "")
        if end == ":":
            self._push(f"(?{flags}:", len(found[0]), before)
        else:
            self.out.append(f"(?{flags})" if flags else "")
            self.place += len(found[0])
            self.target = 0

    def _push(self, written: str, length: int, verbose: bool | None = None) -> None:
        self.open.append((self.most, self.verbose if verbose is None else verbose))
        self.out.append(written)
        self.place += length
        self.target, self.most = 0, 1

    def _closed(self) -> None:
        if not self.open:
            self._fail("a ')' closes nothing")
        inner = self.most
        before, self.verbose = self.open.pop()
        self._part(")", 1)
        self.target, self.most = inner, max(before, inner)

    def _escape(self) -> None:
        written, length = self._escaped()
        target = self.target
        self._part(written, length)
        if not written:
            self.target = target

    def _escaped(self) -> tuple[str, int]:
        """What the escape that begins here is in RE2, and how long it is."""
        rest = self.text[self.place + 1 : self.place + 2]
        if not rest:
            self._fail("it ends in a backslash")
        if rest in "pP":
            return self._unicode_class()
        if rest in "uU" and (found := _HEX.match(self.text, self.place + 1)):
            code = next(part for part in found.groups() if part)
            return f"\\x{{{code}}}", len(found[0]) + 1
        if rest == "b" and (found := _WORD_EDGE.match(self.text, self.place + 2)):
            return r"\b", 2 + len(found[0])
        if rest in "<>":
            return r"\b", 2
        if rest == "Q":
            end = self.text.find(r"\E", self.place)
            end = len(self.text) if end < 0 else end
            return escaped(self.text[self.place + 2 : end]), end + 2 - self.place
        if rest in "123456789":
            digits = _OCTAL.match(self.text, self.place + 1)
            if digits is None:
                self._fail("references to groups are not supported")
            return f"\\x{{{int(digits[0], 8):x}}}", 1 + len(digits[0])
        if rest == "x":
            found = _BYTE.match(self.text, self.place + 2)
            if found is None:
                self._fail(r"\x needs two digits")
            return f"\\x{found[0]}", 2 + len(found[0])
        if rest.isascii() and rest.isalnum() and rest not in "dDsSwWbBAzafnrtvx0":
            self._fail(f"\\{rest} means nothing")
        return (f"\\{rest}" if rest.isascii() else rest), 2

    def _unicode_class(self) -> tuple[str, int]:
        found = _UNICODE_CLASS.match(self.text, self.place)
        if found is None:
            self._fail(r"\p needs a class")
        name = found[4] or _CLASSES.get(found[3], found[3])
        if not _CATEGORIES.fullmatch(name):
            self._fail(f"there is no class '{name}' of characters")
        return f"\\{found[1]}{{{found[2] or ''}{name}}}", len(found[0])

    def _set(self) -> None:
        """A class of characters in brackets."""
        text, start = self.text, self.place
        self.place += 2 if text[start + 1 : start + 2] == "^" else 1
        written = text[start : self.place]
        first = True
        low: int | None = None
        while True:
            if self.place >= len(text):
                self._fail("a '[' is not closed")
            if text[self.place] == "]" and not first:
                break
            part, length, code = self._member()
            if low is not None and (code is None or code < low):
                self._fail(f"the range {chr(low)}-{text[self.place : self.place + length]} is empty")
            self.place += length
            first = False
            # A dash at the end, or behind a class or a range, is just that.
            ranged = low is None and code is not None and text[self.place : self.place + 1] == "-"
            ranged = ranged and text[self.place + 1 : self.place + 2] not in ("]", "")
            low = code if ranged else None
            if ranged:
                part, self.place = part + "-", self.place + 1
            written += part
        self._part(written + "]", 1)

    def _member(self) -> tuple[str, int, int | None]:
        """A member of a class: as RE2 has it, its length, and the number of the character if it is one."""
        text, char = self.text, self.text[self.place]
        if char == "[" and (found := _NAMED_CLASS.match(text, self.place)):
            return found[0], len(found[0]), None
        if char != "\\":
            return ("\\[" if char == "[" else char), 1, ord(char)
        following = text[self.place + 1 : self.place + 2]
        if following in tuple("bBAzQE<>"):
            self._fail(f"\\{following} cannot stand in brackets")
        part, length = self._escaped()
        if following in tuple("dDsSwWpP"):
            return part, length, None
        if found := _CODE.fullmatch(part):
            return part, length, int(found[1] or found[2], 16)
        plain = part[-1]
        return part, length, ord(_CONTROLS.get(plain, plain) if len(part) > 1 else plain)


_STEPS = {
    "\\": _Translator._escape,
    "[": _Translator._set,
    "(": _Translator._opened,
    ")": _Translator._closed,
    "*": _Translator._repeat,
    "+": _Translator._repeat,
    "?": _Translator._repeat,
    "{": _Translator._repeat,
    "|": _Translator._bar,
    ".": _Translator._dot,
    "#": _Translator._comment,
}
