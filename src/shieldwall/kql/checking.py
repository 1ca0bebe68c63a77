"""All mistakes of a query at once, for editors and checks; compiling stops at the first."""

from __future__ import annotations

from shieldwall.kql.compiler import Compiler
from shieldwall.kql.errors import KqlError
from shieldwall.kql.lexer import tokenize
from shieldwall.kql.schema import NO_TABLES, Schema

MOST = 100
"""Mistakes that are told."""


def mistakes(text: str, schema: Schema = NO_TABLES) -> list[KqlError]:
    """The mistakes of a query in the order of the text, each with line and column; empty if it compiles.

    A wrong statement is left out and the others are looked at without it; what fails only because a name
    was to be defined there is not told.
    """
    found: list[KqlError] = []
    left_out: list[tuple[int, int]] = []
    names: set[str] = set()
    for _ in range(MOST):
        rest = _without(text, left_out)
        if left_out and not rest.strip():
            break
        try:
            Compiler(schema).compile(rest)
        except KqlError as error:
            span = _statement_at(rest, error.offset)
            if not _follows(error, names) and not (left_out and error.offset >= len(text.rstrip())):
                found.append(error)
            if span is None:
                break
            left_out.append(span)
            names |= _defined(text[span[0] : span[1]])
        else:
            break
    return sorted(found, key=lambda error: error.offset)


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with blanks for the statements that are left out, so that places stay what they are."""
    for start, end in spans:
        text = (
            text[:start]
            + "".join(letter if letter == "\n" else " " for letter in text[start:end])
            + text[end:]
        )
    return text


def _statement_at(text: str, offset: int) -> tuple[int, int] | None:
    """Where the statement lies that has ``offset`` in it, its semicolon included."""
    try:
        tokens = tokenize(text)
    except KqlError:
        return None
    start, depth = 0, 0
    for token in tokens:
        if token.kind == "op" and token.text in ("(", "[", "{"):
            depth += 1
        elif token.kind == "op" and token.text in (")", "]", "}"):
            depth = max(0, depth - 1)
        if (token.text == ";" and token.kind == "op" and not depth) or token.kind == "end":
            if start <= offset <= token.end and text[start : token.end].strip():
                return start, token.end
            start = token.end
    return None


def _defined(statement: str) -> set[str]:
    """The name that a let statement gives."""
    words = statement.split()
    return {words[1].partition("=")[0]} if len(words) > 1 and words[0] == "let" else set()


def _follows(error: KqlError, names: set[str]) -> bool:
    """Whether an error is only that a name is not there whose definition was left out."""
    return any(f"named '{name}'" in error.message for name in names)
