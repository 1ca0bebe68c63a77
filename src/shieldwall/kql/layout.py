"""One layout for queries: an operator a line, its parts indented. Tokens and comments stay as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from shieldwall.kql.lexer import Token, tokenize

WIDTH = 100
INDENT = "    "

_COMMENT = re.compile(r"//[^\n]*")
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_TIGHT = frozenset("-*./[]().")
"""Around these, whether there is a blank can change the meaning: it stays as it is written."""


@dataclass
class _Line:
    """One line of the result: its depth of indentation and its pieces."""

    depth: int
    pieces: list[str] = field(default_factory=list)

    def text(self) -> str:
        return INDENT * self.depth + "".join(self.pieces) if self.pieces else ""


def laid_out(text: str) -> str:
    """The query in the layout. KqlSyntaxError where it has no tokens of the language."""
    return _Writer(text).written()


class _Writer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.broken = _broken(self.tokens)
        self.lines = [_Line(0)]
        self.depth = 0
        self.opened: list[bool] = []
        """For each open bracket, whether what is in it stands on lines of its own."""

    def written(self) -> str:
        before: Token | None = None
        for place, token in enumerate(self.tokens):
            self._comments(before, token)
            if token.kind != "end":
                self._token(place, token, before)
            before = token
        lines = [line.text().rstrip() for line in self.lines]
        return "\n".join(lines).strip("\n") + "\n"

    def _comments(self, before: Token | None, token: Token) -> None:
        gap = self.text[before.end if before else 0 : token.start]
        place = 0
        for found in _COMMENT.finditer(gap):
            self._comment(gap[place : found.start()], found.group().rstrip(), before)
            place = found.end()
        self._blank_line(gap[place:], before)

    def _comment(self, gap: str, comment: str, before: Token | None) -> None:
        if before is None or "\n" in gap:
            self._blank_line(gap, before)
            self._line(self.depth)
            self.lines[-1].pieces.append(comment)
        else:
            # Behind a semicolon or a bracket the next line has begun already.
            line = self.lines[-1] if self.lines[-1].pieces or len(self.lines) == 1 else self.lines[-2]
            line.pieces += ("  ", comment)
        if self.lines[-1].pieces:
            self.lines.append(_Line(self.depth))

    def _blank_line(self, gap: str, before: Token | None) -> None:
        """Keep one blank line between statements."""
        if before is not None and gap.count("\n") > 1 and self._ended(before):
            self.lines.append(_Line(0))

    def _ended(self, before: Token) -> bool:
        return before.text == ";" and not self.opened

    def _line(self, depth: int) -> None:
        """Begin a line, unless one has just begun."""
        if self.lines[-1].pieces:
            self.lines.append(_Line(depth))
        else:
            self.lines[-1].depth = depth

    def _token(self, place: int, token: Token, before: Token | None) -> None:
        text = token.text
        if text in _CLOSING and token.kind == "op" and self.opened and self.opened.pop():
            self.depth -= 1
            self._line(self.depth)
        elif text == "|" and token.kind == "op":
            self._line(self.depth)
        elif self._too_long(before, token):
            self._line(self.depth + 1)
        line = self.lines[-1]
        if line.pieces and before is not None and self._blank(before, token):
            line.pieces.append(" ")
        line.pieces.append(text)
        if text in _OPENING and token.kind == "op":
            broken = place in self.broken
            self.opened.append(broken)
            if broken:
                self.depth += 1
                self.lines.append(_Line(self.depth))
        elif text == ";" and token.kind == "op":
            self.lines.append(_Line(self.depth))

    def _too_long(self, before: Token | None, token: Token) -> bool:
        """Whether a list goes on on a new line: behind a comma, or before and/or."""
        if before is None or len(self.lines[-1].text()) + len(token.text) < WIDTH - 20:
            return False
        return before.text == "," or (token.kind == "name" and token.text in ("and", "or"))

    def _blank(self, before: Token, token: Token) -> bool:
        apart = before.end < token.start
        if before.kind == "op" and before.text in _OPENING:
            return False
        if token.kind == "op" and token.text in (*_CLOSING, ",", ";"):
            return False
        if token.text == "{" or (before.kind == "op" and before.text[-1] == "=" and token.text == "("):
            return True
        if before.text[-1] in _TIGHT or token.text[0] in _TIGHT:
            return apart
        if before.text == "," or before.text == "|" or token.text == "|":
            return True
        if ":" in (before.text, token.text):
            return before.text == ":" and apart
        return True


def _broken(tokens: list[Token]) -> set[int]:
    """The places of opening brackets whose content has operators of its own, or statements."""
    found: set[int] = set()
    opened: list[int] = []
    for place, token in enumerate(tokens):
        if token.kind != "op":
            continue
        if token.text in _OPENING:
            opened.append(place)
        elif token.text in _CLOSING and opened:
            opened.pop()
        elif token.text in ("|", ";") and opened:
            found.update(opened)
    return found
