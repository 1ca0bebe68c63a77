"""Statements and expressions: recursive descent, one function a level of precedence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.lexer import Token, duration, tokenize, unquote
from shieldwall.kql.literals import LITERAL_TYPES, parse_dynamic, parse_literal
from shieldwall.kql.syntax import (
    Between,
    Binary,
    Call,
    Expr,
    Function,
    In,
    Index,
    Let,
    Literal,
    Member,
    Name,
    Named,
    Operator,
    Parameter,
    Pipeline,
    Query,
    QueryParameters,
    SetOption,
    Star,
    Statement,
    TypeOf,
    Unary,
)

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
_SOURCES = (
    "datatable",
    "print",
    "range",
    "union",
    "search",
    "find",
    "externaldata",
    "external_data",
    "evaluate",
)


class Parser:
    """One parser for one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.index = 0
        self.token = self.tokens[0]
        self._depth = 0
        self._in_condition = False

    # Tokens

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

    # Statements

    def statements(self) -> list[Statement]:
        found: list[Statement] = []
        while self.token.kind != "end" and not self.at("}"):
            if self.accept(";"):
                continue
            found.append(self.statement())
            if self.token.kind != "end" and not self.at("}"):
                self.expect(";")
        return found

    def statement(self) -> Statement:
        at = self.token.start
        if self.at("let") and self.peek().text not in ("|", "=", ";", "."):
            self.advance()
            name = self.identifier()
            self.expect("=")
            return Let(at, name, self.let_value())
        if self.at("set") and self.peek().kind == "name":
            self.advance()
            name = self.identifier()
            value = self.expression() if self.accept("=") else None
            return SetOption(at, name, value)
        if self.at("declare") and self.peek().kind == "name":
            self.advance()
            kind = self.identifier()
            if kind == "pattern":
                raise KqlSyntaxError("Patterns are not supported.", at)
            return QueryParameters(at, self.parameters())
        if self.at("alias") and self.peek().text == "database":
            raise KqlSyntaxError("Other databases cannot be read.", at)
        found = self.pipeline_or_expression()
        return found if isinstance(found, Pipeline) else Pipeline(at, found, [])

    def let_value(self) -> Expr | Pipeline | Function:
        at = self.token.start
        if self.at("view") and self.peek().text == "(":
            self.advance()
            return replace(self.function(at), view=True)
        if self.at("(") and self._is_function():
            return self.function(at)
        return self.pipeline_or_expression()

    def _is_function(self) -> bool:
        """Whether the parenthesis that comes next is that of a function's parameters."""
        depth = 0
        for index in range(self.index, len(self.tokens)):
            text = self.tokens[index].text if self.tokens[index].kind == "op" else ""
            if text in ("(", "["):
                depth += 1
            elif text in (")", "]"):
                depth -= 1
                if not depth:
                    return self.tokens[index + 1].text == "{" if index + 1 < len(self.tokens) else False
        return False

    def function(self, at: int) -> Function:
        parameters = self.parameters()
        self.expect("{")
        body = self.statements()
        self.expect("}")
        return Function(at, parameters, body)

    def parameters(self) -> list[Parameter]:
        self.expect("(")
        found: list[Parameter] = []
        while not self.at(")"):
            at = self.token.start
            name = self.identifier()
            self.expect(":")
            if self.at("("):
                columns = None if self.peek().text == "*" else self.schema()
                if columns is None:
                    self.advance()
                    self.advance()
                    self.expect(")")
                found.append(Parameter(at, name, "table", None, columns))
            else:
                kind = self.identifier("a type")
                default = self.expression() if self.accept("=") else None
                found.append(Parameter(at, name, kind, default))
            if not self.accept(","):
                break
        self.expect(")")
        return found

    def schema(self) -> list[tuple[str, str]]:
        """``(a: string, b: long)``"""
        self.expect("(")
        columns: list[tuple[str, str]] = []
        while not self.at(")"):
            name = self.identifier("a column name")
            self.expect(":")
            columns.append((name, self.identifier("a type")))
            if not self.accept(","):
                break
        self.expect(")")
        return columns

    # Tabular expressions

    def pipeline_or_expression(self) -> Pipeline | Expr:
        at = self.token.start
        source: Expr | Operator
        if self.token.kind == "name" and self.token.text in _SOURCES and self._is_source():
            source = self.operator(as_source=True)
        else:
            source = self.expression()
        operators = self.operators()
        if not operators and not isinstance(source, Operator):
            return source.pipeline if isinstance(source, Query) else source
        if isinstance(source, Query):
            return Pipeline(at, source.pipeline, operators)
        return Pipeline(at, source, operators)

    def _is_source(self) -> bool:
        following = self.peek().text
        if self.token.text in ("range", "search", "find", "print"):
            return following != "(" or self.token.text in ("search", "print", "find")
        return following not in ("|", ";", ",", ")", ".", "==", "=")

    def pipeline(self) -> Pipeline:
        """A tabular expression; a bare name is a table."""
        at = self.token.start
        found = self.pipeline_or_expression()
        return found if isinstance(found, Pipeline) else Pipeline(at, found, [])

    def operators(self) -> list[Operator]:
        from shieldwall.kql.operators_syntax import parse_operator

        found: list[Operator] = []
        while self.accept("|"):
            found.append(parse_operator(self, as_source=False))
        return found

    def operator(self, *, as_source: bool) -> Operator:
        from shieldwall.kql.operators_syntax import parse_operator

        return parse_operator(self, as_source=as_source)

    # Expressions, loosest first

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
        if self.at("*"):
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


def parse(text: str, mentions: Counter[str] | None = None) -> list[Statement]:
    """The statements of a query. KqlSyntaxError, located, when it is not one.

    In ``mentions``, how often each name stands in the text.
    """
    try:
        parser = Parser(text)
        if mentions is not None:
            mentions.update(token.text for token in parser.tokens if token.kind == "name")
        found = parser.statements()
        if parser.token.kind != "end":
            raise parser.unexpected("the end of the query")
        return found
    except RecursionError:
        raise KqlSyntaxError("The query is nested too deeply.").locate(text) from None
    except KqlSyntaxError as error:
        raise error.locate(text) from None
