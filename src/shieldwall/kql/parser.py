"""Statements and tabular expressions, by recursive descent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from shieldwall.kql.errors import KqlSyntaxError
from shieldwall.kql.syntax import (
    Expr,
    Function,
    Let,
    Operator,
    Parameter,
    Pipeline,
    Query,
    QueryParameters,
    SetOption,
    Statement,
)
from shieldwall.kql.syntax_expressions import ExpressionReader

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


class Parser(ExpressionReader):
    """One parser for one text."""

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
