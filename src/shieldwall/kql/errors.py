"""The one error of the language: what is wrong with a query, and where."""

from __future__ import annotations


class KqlError(Exception):
    """A query that cannot be compiled or run; ``offset`` is where in its text, in characters."""

    def __init__(self, message: str, offset: int = 0, code: str = "SEM0001") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.code = code
        self.line = 0
        self.column = 0

    def locate(self, text: str) -> KqlError:
        """Set line and column, both from 1, of the offset in ``text``."""
        before = text[: self.offset]
        self.line = before.count("\n") + 1
        self.column = len(before) - (before.rfind("\n") + 1) + 1
        return self


class UnknownSourceError(KqlError):
    """A name where a table stands, that is none; a fuzzy union leaves such a table out."""


class KqlSyntaxError(KqlError):
    """Text that is not of the language."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message, offset, "SYN0001")
