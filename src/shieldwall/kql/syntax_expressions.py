"""Expressions: recursive descent, one function a level of precedence, the loosest first."""

from __future__ import annotations

from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.lexer import Token, duration, unquote
from shieldwall.kql.literals import LITERAL_TYPES, parse_dynamic, parse_literal
from shieldwall.kql.syntax import (
    Between,
    Binary,
    Call,
    Expr,
    In,
    Index,
    Literal,
    Member,
    Name,
    Named,
    Pipeline,
    Query,
    Star,
    TypeOf,
    Unary,
)
from shieldwall.kql.token_reader import TokenReader

MAX_DEPTH = 200
"""Nested parentheses; deeper text is no query, and would exhaust the stack."""

STRING_OPERATORS = frozenset(
    name
    for base in ("contains", "has", "startswith", "endswith", "hasprefix", "hassuffix")
    for name in (base, f"{base}_cs", f"!{base}", f"!{base}_cs")
) | {"=~", "!~", "like", "notlike", "likecs", "notlikecs", "notcontains"}
_EQUALITY = {"==": "==", "!=": "!=", "<>": "!="}
_RELATIONAL = ("<", ">", "<=", ">=")
_LISTS = ("in", "!in", "in~", "!in~", "has_any", "!has_any", "has_all", "!has_all")


class ExpressionReader(TokenReader):
    """Reads expressions; those in parentheses may be tabular."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._in_condition = False

    def pipeline_or_expression(self) -> Pipeline | Expr:
        raise NotImplementedError

    def expression(self) -> Expr:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise KqlSyntaxError("The query is nested too deeply.", self.token.start)
        try:
            left = self._and()
            while self.at("or"):
                at = self.advance().start
                left = Binary(at, "or", left, self._and())
            return left
        finally:
            self._depth -= 1

    def condition(self) -> Expr:
        """The predicate of ``where``, in which a single ``=`` compares, since nothing is named there."""
        outer, self._in_condition = self._in_condition, True
        try:
            return self.expression()
        finally:
            self._in_condition = outer

    def named_expression(self, *, tabular: bool = False) -> Expr:
        """An expression, or one with a name: ``a = x``, ``(a, b) = x``. ``tabular``: it may be a table's."""
        at = self.token.start
        value = self.argument_value if tabular else self._item_value
        token = self.token
        if token.kind == "name" and self.peek().text == "=":
            name = self.advance().text
            self.advance()
            return Named(at, [name], value())
        if self.at("[") and self.peek(3).text == "=":
            name = self.identifier()
            self.expect("=")
            return Named(at, [name], value())
        if self.at("("):
            names = self._names_before_equals()
            if names:
                return Named(at, names, value(), True)
        return value()

    def _names_before_equals(self) -> list[str]:
        start = self.index
        self.advance()
        names: list[str] = []
        while self.token.kind == "name" or self.at("["):
            try:
                names.append(self.identifier())
            except KqlSyntaxError:
                break
            if not self.accept(","):
                break
        if names and self.at(")") and self.peek().text == "=":
            self.advance()
            self.advance()
            return names
        self.index = start
        self.token = self.tokens[start]
        return []

    def _item_value(self) -> Expr:
        if self.at("*"):
            return Star(self.advance().start)
        return self.expression()

    def argument_value(self) -> Expr:
        """An expression, a wildcard, or a tabular expression."""
        at = self.token.start
        # In front of an operator it is a side of it, as in (* has "x").
        if self.at("*") and self.peek().text in (",", ")"):
            self.advance()
            return Star(at)
        found = self.pipeline_or_expression()
        return Query(at, found) if isinstance(found, Pipeline) else found

    def items(self) -> list[Expr]:
        """Expressions, named or not, between commas."""
        found = [self.named_expression()]
        while self.accept(","):
            found.append(self.named_expression())
        return found

    def _and(self) -> Expr:
        left = self._equality()
        while self.at("and"):
            at = self.advance().start
            left = Binary(at, "and", left, self._equality())
        return left

    def _equality(self) -> Expr:
        left = self._relational()
        while True:
            token = self.token
            if token.text == "=" and self._in_condition:
                self.advance()
                left = Binary(token.start, "==", left, self._relational())
            elif token.kind == "op" and token.text in _EQUALITY:
                self.advance()
                left = Binary(token.start, _EQUALITY[token.text], left, self._relational())
            elif token.text in _LISTS and token.kind in ("op", "name"):
                self.advance()
                left = In(token.start, token.text, left, self._items())
            elif token.text in ("between", "!between") and token.kind in ("op", "name"):
                self.advance()
                self.expect("(")
                low = self.expression()
                self.expect("..")
                high = self.expression()
                self.expect(")")
                left = Between(token.start, left, low, high, token.text[0] == "!")
            else:
                return left

    def _items(self) -> list[Expr]:
        if not self.at("("):
            return [self._unary()]
        self.expect("(")
        items = [] if self.at(")") else [self.argument_value()]
        while self.accept(","):
            if self.at(")"):
                break
            items.append(self.argument_value())
        self.expect(")")
        return items

    def _relational(self) -> Expr:
        left = self._additive()
        while self.token.kind == "op" and self.token.text in _RELATIONAL:
            token = self.advance()
            left = Binary(token.start, token.text, left, self._additive())
        return left

    def _additive(self) -> Expr:
        left = self._multiplicative()
        while self.token.kind == "op" and self.token.text in ("+", "-"):
            token = self.advance()
            left = Binary(token.start, token.text, left, self._multiplicative())
        return left

    def _multiplicative(self) -> Expr:
        left = self._string_operation()
        while self.token.kind == "op" and self.token.text in ("*", "/", "%"):
            token = self.advance()
            left = Binary(token.start, token.text, left, self._string_operation())
        return left

    def _string_operation(self) -> Expr:
        left = self._unary()
        while True:
            token = self.token
            if token.kind not in ("op", "name"):
                return left
            if token.text in STRING_OPERATORS:
                self.advance()
                left = Binary(token.start, token.text, left, self._unary())
            elif token.text == "matches" and self.peek().text == "regex":
                self.advance()
                self.advance()
                left = Binary(token.start, "matches regex", left, self._unary())
            else:
                return left

    def _unary(self) -> Expr:
        if self.token.kind == "op" and self.token.text in ("-", "+"):
            token = self.advance()
            of = self._unary()
            if (
                isinstance(of, Literal)
                and of.value is not None
                and of.type in ("long", "real", "int", "timespan")
            ):
                return Literal(token.start, of.type, -of.value) if token.text == "-" else of
            return Unary(token.start, "-", of) if token.text == "-" else of
        return self._postfix(self._primary())

    def _postfix(self, value: Expr) -> Expr:
        while self.token.kind == "op":
            if self.token.text == "." and self.peek().kind in ("name", "number", "timespan"):
                at = self.advance().start
                value = Member(at, value, self.advance().text)
                if self.at("("):
                    self._elsewhere(value)
            elif self.token.text == "." and self.peek().text == "[":
                self.advance()
            elif self.token.text == "." and self.peek().text == "*":
                self._elsewhere(value)
            elif self.token.text == "[":
                at = self.advance().start
                index = self.expression()
                self.expect("]")
                value = Index(at, value, index)
            else:
                break
        return value

    def _elsewhere(self, of: Expr) -> None:
        """Refuse ``cluster("x").database("y")``; nothing else may be called behind a dot."""
        start: Expr = of
        while isinstance(start, Member):
            start = start.of
        if isinstance(start, Call) and start.name in ("cluster", "database", "workspace"):
            raise KqlSyntaxError("Other databases, clusters and workspaces cannot be read.", start.at)
        raise KqlSyntaxError("A function cannot be called behind a dot.", of.at)

    def _primary(self) -> Expr:
        token = self.token
        if token.kind == "string":
            self.advance()
            value = unquote(token.text)
            while self.token.kind == "string":
                value += unquote(self.advance().text)
            return Literal(token.start, "string", value)
        if token.kind == "number":
            self.advance()
            return _number(token)
        if token.kind == "timespan":
            self.advance()
            return Literal(token.start, "timespan", duration(token.text))
        if token.kind == "name":
            return self._named_primary(token)
        if token.text == "(":
            self.advance()
            found = self.argument_value()
            self.expect(")")
            return found
        if token.text == "[" and self.peek().kind == "string" and self.peek(2).text == "]":
            return Name(token.start, self.identifier())
        if token.text == "*":
            self.advance()
            return Star(token.start)
        raise self.unexpected("an expression")

    def _named_primary(self, token: Token) -> Expr:
        following = self.peek()
        if following.text != "(" or following.kind != "op":
            self.advance()
            if token.text in ("true", "false"):
                return Literal(token.start, "bool", token.text == "true")
            return Name(token.start, token.text)
        if token.text == "dynamic":
            return parse_dynamic(self)
        if token.text in LITERAL_TYPES:
            return parse_literal(self)
        if token.text == "typeof":
            return self._typeof()
        self.advance()
        self.advance()
        args: list[Expr] = []
        outer, self._in_condition = self._in_condition, False
        while not self.at(")"):
            args.append(self.named_expression(tabular=True))
            if not self.accept(","):
                break
        self._in_condition = outer
        self.expect(")")
        return Call(token.start, token.text, args)

    def _typeof(self) -> TypeOf:
        at = self.advance().start
        self.expect("(")
        columns: list[tuple[str, str]] = []
        while not self.at(")"):
            if self.accept("*"):
                columns.append(("*", ""))
            else:
                name = self.identifier()
                columns.append((name, self.identifier("a type")) if self.accept(":") else ("", name))
            if not self.accept(","):
                break
        self.expect(")")
        return TypeOf(at, columns)


def _number(token: Token) -> Literal:
    text = token.text
    if text[:2] in ("0x", "0X"):
        return Literal(token.start, "long", int(text, 16))
    if "." in text or "e" in text or "E" in text:
        return Literal(token.start, "real", float(text))
    value = int(text)
    if value > 9223372036854775808:
        raise KqlSyntaxError(f"{text} is too large for a long.", token.start)
    return Literal(token.start, "long", value)
