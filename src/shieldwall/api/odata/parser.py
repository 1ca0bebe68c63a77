"""Reads the text of a ``$filter`` into its tree, by recursive descent with bounded depth and size."""

from __future__ import annotations

import math

from shieldwall import times
from shieldwall.api.odata.errors import odata_error
from shieldwall.api.odata.tokens import Kind, Token, tokenize
from shieldwall.api.odata.tree import (
    Call,
    Comparison,
    Expression,
    Lambda,
    Literal,
    Logical,
    Membership,
    Not,
    Path,
    Value,
)
from shieldwall.errors import ApiError

DEPTH_LIMIT = 24
NODE_LIMIT = 900
"""Nodes of one tree; SQLite takes no more than 1,000 operands joined by one operator."""

_COMPARISONS = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None}
_TIME_PREFIXES = frozenset({"datetime", "datetimeoffset", "date"})


def parse_filter(text: str) -> Expression:
    """The tree of a ``$filter``; ApiError ``ODataError`` for anything that is not one."""
    parser = _Parser(text)
    tree = parser.expression()
    parser.expect_end()
    return tree


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(tokenize(text))
        self._at = 0
        self._depth = 0
        self._nodes = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def expression(self) -> Expression:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise odata_error(f"The expression is nested deeper than {DEPTH_LIMIT} levels.")
        tree = self._joined("or")
        self._depth -= 1
        return tree

    def expect_end(self) -> None:
        if self._next.kind is not Kind.END:
            raise self._unexpected()

    def _joined(self, operator: str) -> Expression:
        operand = self._negation if operator == "and" else lambda: self._joined("and")
        operands = [operand()]
        while self._take_word(operator):
            operands.append(operand())
        return operands[0] if len(operands) == 1 else self._count(Logical(operator, tuple(operands)))

    def _negation(self) -> Expression:
        negated = False
        while self._take_word("not"):
            negated = not negated
        tree = self._comparison()
        return self._count(Not(tree)) if negated else tree

    def _comparison(self) -> Expression:
        left = self._operand()
        word = self._next.text.lower() if self._next.kind is Kind.NAME else ""
        if word in _COMPARISONS:
            self._at += 1
            return self._count(Comparison(word, left, self._operand()))
        if word == "in":
            self._at += 1
            return self._count(Membership(left, self._values()))
        return left

    def _values(self) -> tuple[Literal, ...]:
        close = "]" if self._take("[") else ")"
        if close == ")":
            self._expect("(")
        values: list[Literal] = []
        while not self._take(close):
            if values:
                self._expect(",")
            start = self._next
            value = self._operand()
            if not isinstance(value, Literal):
                raise self._unexpected(start)
            values.append(value)
        return tuple(values)

    def _operand(self) -> Expression:
        token = self._next
        if self._take("("):
            inner = self.expression()
            self._expect(")")
            return inner
        self._at += 1
        match token.kind:
            case Kind.STRING | Kind.GUID:
                return self._count(Literal(token.text))
            case Kind.NUMBER:
                return self._count(Literal(_number(token)))
            case Kind.TIME:
                return self._count(Literal(_time(token.text)))
            case Kind.NAME:
                return self._named(token)
        raise self._unexpected(token)

    def _named(self, token: Token) -> Expression:
        word = token.text.lower()
        following = self._next
        touching = following.position == token.position + len(token.text)
        if following.kind is Kind.STRING and touching:
            # A typed literal: AlertSeverity'High', datetime'2026-01-01T00:00:00Z', guid'…'.
            self._at += 1
            return self._count(Literal(_time(following.text) if word in _TIME_PREFIXES else following.text))
        if self._take("("):
            return self._call(word)
        if word in _WORDS:
            return self._count(Literal(_WORDS[word]))
        names = [token.text]
        while self._take("/"):
            name = self._next
            if name.kind is not Kind.NAME:
                raise self._unexpected()
            self._at += 1
            if name.text.lower() in ("any", "all") and self._take("("):
                return self._lambda(name.text.lower(), self._path(names))
            names.append(name.text)
        return self._path(names)

    def _path(self, names: list[str]) -> Path:
        tree = Path(tuple(names))
        self._count(tree)
        return tree

    def _call(self, name: str) -> Expression:
        arguments: list[Expression] = []
        while not self._take(")"):
            if arguments:
                self._expect(",")
            arguments.append(self.expression())
        return self._count(Call(name, tuple(arguments)))

    def _lambda(self, quantifier: str, collection: Path) -> Expression:
        if quantifier == "any" and self._take(")"):
            return self._count(Lambda("any", collection, None, None))
        variable = self._next
        if variable.kind is not Kind.NAME:
            raise self._unexpected()
        self._at += 1
        self._expect(":")
        condition = self.expression()
        self._expect(")")
        return self._count(Lambda(quantifier, collection, variable.text, condition))

    def _count(self, tree: Expression) -> Expression:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            raise odata_error(f"The expression has more than {NODE_LIMIT} parts.")
        return tree

    def _take_word(self, word: str) -> bool:
        found = self._next.kind is Kind.NAME and self._next.text.lower() == word
        self._at += found
        return found

    def _take(self, mark: str) -> bool:
        found = self._next.kind is Kind.MARK and self._next.text == mark
        self._at += found
        return found

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise self._unexpected()

    def _unexpected(self, token: Token | None = None) -> ApiError:
        found = token or self._next
        what = "the end" if found.kind is Kind.END else repr(found.text[:64])
        return odata_error(f"Syntax error at position {found.position} of the expression: {what}.")


def _number(token: Token) -> int | float:
    if len(token.text) > 40:
        raise odata_error(f"The number at position {token.position} is too long.")
    if token.text.lstrip("-").isdigit():
        return int(token.text)
    value = float(token.text)
    if not math.isfinite(value):
        raise odata_error(f"The number at position {token.position} is out of range.")
    return value


def _time(text: str) -> Value:
    try:
        return times.parse(with_offset(text))
    except ValueError as error:
        raise odata_error(f"The expression has a bad time: {error}.") from None


def with_offset(text: str) -> str:
    """A time whose offset's plus sign became a blank on its way, with the sign again."""
    text = text.strip().upper()
    head, blank, offset = text.rpartition(" ")
    return f"{head}+{offset}" if blank and "T" in head else text
