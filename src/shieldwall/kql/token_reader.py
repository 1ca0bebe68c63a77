"""Reading tokens one after another, with errors that say what was expected where."""

from __future__ import annotations

from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.lexer import Token, tokenize, unquote


class TokenReader:
    """The tokens of one text, and the place in them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.index = 0
        self.token = self.tokens[0]

    def advance(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.index += 1
            self.token = self.tokens[self.index]
        return token

    def back_to(self, index: int) -> None:
        """Go back to the token of that number."""
        self.index = index
        self.token = self.tokens[index]

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.index + ahead, len(self.tokens) - 1)]

    def at(self, text: str) -> bool:
        """Whether this operator, or this word, comes next."""
        return self.token.text == text and self.token.kind in ("op", "name")

    def accept(self, *texts: str) -> Token | None:
        if self.token.kind in ("op", "name") and self.token.text in texts:
            return self.advance()
        return None

    def expect(self, text: str) -> Token:
        if not self.at(text):
            raise self.unexpected(f"'{text}'")
        return self.advance()

    def unexpected(self, wanted: str) -> KqlSyntaxError:
        found = repr(self.token.text[:40]) if self.token.kind != "end" else "the end of the query"
        return KqlSyntaxError(f"Expected {wanted}, found {found}.", self.token.start)

    def identifier(self, wanted: str = "a name") -> str:
        """A name, plain or as ``['any text']``."""
        if self.token.kind == "name":
            return self.advance().text
        if self.at("[") and self.peek().kind == "string" and self.peek(2).text == "]":
            self.advance()
            name = unquote(self.advance().text)
            self.advance()
            return name
        if self.token.kind == "string" and wanted == "a column name":
            return unquote(self.advance().text)
        raise self.unexpected(wanted)

    def hyphenated(self) -> str:
        """An operator's name, which may have hyphens; there, no blanks are allowed."""
        if self.token.kind != "name":
            raise self.unexpected("an operator")
        first = self.advance()
        name, end = first.text, first.end
        while self.at("-") and self.token.start == end and self.peek().kind == "name":
            self.advance()
            part = self.advance()
            name, end = f"{name}-{part.text}", part.end
        return name
