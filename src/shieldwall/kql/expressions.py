"""From expressions to typed SQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.arithmetic import arithmetic, negative
from shieldwall.kql.errors import KqlError
from shieldwall.kql.everywhere import any_column
from shieldwall.kql.functions import registry
from shieldwall.kql.functions.registry import AGGREGATES, CODED, CODED_AGGREGATES, LOCALS, SCALARS
from shieldwall.kql.local import LocalCalls, LocalFunction
from shieldwall.kql.operations import (
    compare,
    contains_any,
    equal,
    negate,
    searched_together,
    string_operation,
)
from shieldwall.kql.relation import Relation, is_closed
from shieldwall.kql.scope import NO_ROW, Binding, Environment, Row, unknown
from shieldwall.kql.syntax import (
    Between,
    Binary,
    Call,
    Expr,
    Function,
    In,
    Index,
    Literal,
    Member,
    Name,
    Named,
    Ordered,
    Pipeline,
    Query,
    Star,
    TypeOf,
    Unary,
)
from shieldwall.kql.types import TYPE_NAMES
from shieldwall.kql.values import UNKNOWN, Value, constant, convert, made, member, to_string

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

MAX_INLINE = 64
"""Nested calls of the query's own functions."""


class Binder:
    """Binds expressions over one row scope. ``aggregates`` says whether they may stand here."""

    def __init__(
        self,
        compiler: Compiler,
        env: Environment,
        row: Row = NO_ROW,
        *,
        aggregates: bool = False,
        local: LocalCalls | None = None,
    ) -> None:
        self.compiler = compiler
        self.env = env
        self.row = row
        self.aggregates = aggregates
        self.local = local or LocalCalls()
        self.grouped_by: list[Value] = []
        self.outside: list[tuple[Name, Value]] = []
        """Columns that are named where aggregates may stand, but not inside of one."""

    def plain(self) -> Binder:
        """The same without aggregates, as their arguments are bound."""
        return Binder(self.compiler, self.env, self.row, local=self.local)

    def bind(self, node: Expr) -> Value:
        found = _BINDERS[type(node)](self, node)
        self.compiler.spend(1, len(found.sql), node.at)
        return found

    def boolean(self, node: Expr) -> Value:
        """A condition."""
        value = self.bind(node)
        if value.type == "bool":
            return value
        if value.type in ("dynamic", "int", "long", "real"):
            return convert(value, "bool", node.at)
        raise KqlError(f"A condition must be a bool, not a {value.type}.", node.at, "SEM0071")

    def constant(self, node: Expr, kind: str = "") -> Any:
        """The value of an expression that must be constant."""
        value = self.bind(node)
        if value.constant is UNKNOWN:
            raise KqlError("A constant is expected here.", node.at, "SEM0082")
        if kind == "long" and not isinstance(value.constant, int):
            raise KqlError("A whole number is expected here.", node.at, "SEM0082")
        return value.constant

    def option(self, name: str) -> Value | None:
        """What the query gives an option, by ``set`` or by a name of its own."""
        found = self.env.find(name) or self.compiler.options.get(name)
        if isinstance(found, Binding):
            return self.compiler.scalar(found, Name(0, name), self)
        return found if isinstance(found, Value) else None

    # One method a kind of node

    def _literal(self, node: Literal) -> Value:
        return constant(node.type, node.value)

    def _name(self, node: Name) -> Value:
        if (found := self.row.column(node.name)) is not None:
            if self.aggregates:
                self.outside.append((node, found))
            return found
        bound = self.env.find(node.name)
        value = self.compiler.scalar(bound, node, self) if isinstance(bound, Binding) else bound
        if isinstance(value, Value):
            return replace(value, name=node.name)
        if (renamed := self.compiler.renamed.get(node.name)) and (
            found := self.row.column(renamed)
        ) is not None:
            return found
        if self.compiler.open:
            self.local.inferred[node.name] = None
            return Value("dynamic", "''", name=node.name)
        known = [*self.row.names, *self.env.visible()]
        raise unknown("scalar expression", node.name, known, node.at)

    def _member(self, node: Member) -> Value:
        if isinstance(node.of, Name) and node.of.name in self.row.sides:
            side = self.row.sides[node.of.name]
            if (column := side.column(node.name)) is None:
                raise unknown("column", node.name, side.names, node.at)
            return column
        of = self.bind(node.of)
        if of.type not in ("dynamic", "string"):
            raise KqlError(f"A {of.type} has no members.", node.at, "SEM0100")
        found = member(of, sql.quote(node.name))
        found.name = f"{of.name}_{node.name}" if of.name else ""
        return found

    def _index(self, node: Index) -> Value:
        of = self.bind(node.of)
        index = self.bind(node.index)
        if of.type not in ("dynamic", "string"):
            raise KqlError(f"A {of.type} cannot be indexed.", node.at, "SEM0100")
        if index.type == "string":
            found = member(of, index.sql)
        elif isinstance(index.constant, int):
            found = member(of, str(index.constant + 1 if index.constant >= 0 else index.constant))
        else:
            place = convert(index, "long").sql if index.type != "dynamic" else ""
            if not place:
                found = member(of, to_string(index).sql)
            else:
                found = member(of, f"assumeNotNull(if({place} >= 0, {place} + 1, {place}))")
        found.deps |= index.deps
        if of.name and index.is_constant:
            found.name = f"{of.name}_{index.constant}"
        return found

    def _unary(self, node: Unary) -> Value:
        return negative(self.bind(node.of), node.at)

    def _binary(self, node: Binary) -> Value:
        op = node.op
        if op in ("and", "or"):
            return self._logical(node)
        if isinstance(node.left, Star):
            return any_column(self, node)
        left, right = self.bind(node.left), self.bind(node.right)
        if op in ("+", "-", "*", "/", "%"):
            return arithmetic(op, left, right, node.at)
        if op in ("==", "!="):
            return equal(op, left, right, node.at)
        if op in ("<", ">", "<=", ">="):
            return compare(op, left, right, node.at)
        return string_operation(op, left, right, node.at)

    def _logical(self, node: Binary) -> Value:
        """A chain of the same operator as one list: the tree may be thousands deep."""
        parts: list[Expr] = []
        left: Expr = node
        while isinstance(left, Binary) and left.op == node.op:
            parts.append(left.right)
            left = left.left
        values = [self.boolean(part) for part in (left, *reversed(parts))]
        if node.op == "or":
            values = searched_together(values)
        joiner = f" {node.op.upper()} "
        text = joiner.join(value.sql for value in values)
        where = (
            joiner.join(value.condition for value in values) if any(value.where for value in values) else ""
        )
        return made("bool", f"({text})", *values, where=where and f"({where})")

    def _between(self, node: Between) -> Value:
        value, low, high = self.bind(node.of), self.bind(node.low), self.bind(node.high)
        if value.type == "datetime" and high.type == "timespan":
            high = arithmetic("+", low, high, node.at)
        inside = [compare(">=", value, low, node.at), compare("<=", value, high, node.at)]
        text = f"({inside[0].sql} AND {inside[1].sql})"
        return made("bool", f"(NOT {text})" if node.negated else text, *inside)

    def _in(self, node: In) -> Value:
        of = self.bind(node.of)
        op = node.op.removeprefix("!")
        if op in ("has_any", "has_all"):
            found = contains_any(op, of, self._list(node.items), node.at)
        elif len(node.items) == 1 and (relation := self.relation(node.items[0])) is not None:
            found = self._in_relation(op, of, relation, node.at)
        else:
            found = self._in_list(op, of, self._list(node.items), node.at)
        return negate(found) if node.op[0] == "!" else found

    def relation(self, node: Expr) -> Relation | None:
        """The relation that an argument is, if it is one."""
        if isinstance(node, Query):
            return self.compiler.pipeline(node.pipeline, self.env)
        if isinstance(node, Name) and self.row.column(node.name) is None:
            return self.compiler.named_relation(node, self.env)
        if isinstance(node, Call) and self.compiler.is_tabular(node, self.env):
            return self.compiler.call_relation(node, self.env)
        return None

    def _list(self, nodes: list[Expr]) -> list[Value]:
        """The items of a list; constant dynamic arrays among them are laid open."""
        found: list[Value] = []
        for node in nodes:
            relation = self.relation(node) if isinstance(node, Name | Query | Call) else None
            if relation is not None:
                found.append(self._as_array(relation))
                continue
            value = self.bind(node.value if isinstance(node, Named) else node)
            if value.type == "dynamic" and isinstance(value.constant, str):
                items = json.loads(value.constant)
                found += [_json_constant(item) for item in items] if isinstance(items, list) else [value]
            else:
                found.append(value)
        return found

    def _as_array(self, relation: Relation) -> Value:
        text = self.compiler.subquery(relation, lambda shown: f"toJSONString(groupArray(toString({shown})))")
        return Value("dynamic", f"ifNull({text}, '[]')")

    def _in_relation(self, op: str, of: Value, relation: Relation, at: int) -> Value:
        if not is_closed(relation):
            raise KqlError("A table behind 'in' cannot use columns of the row; use a join.", at, "SEM0100")
        kind = relation.columns[0].type
        fold = op == "in~" and "string" in (of.type, kind)
        if of.type != kind or fold:
            of = to_string(of)

            def shown(text: str) -> str:
                found = to_string(Value(kind, text)).sql
                return f"lower({found})" if fold else found
        else:

            def shown(text: str) -> str:
                return text

        subject = f"lower({of.sql})" if fold else of.sql
        return made("bool", f"({subject} IN {self.compiler.subquery(relation, shown)})", of)

    def _in_list(self, op: str, of: Value, items: list[Value], at: int) -> Value:
        if not items:
            return made("bool", "false", of)
        arrays = [item for item in items if item.type == "dynamic" and not item.is_constant]
        plain = [item for item in items if item not in arrays]
        parts: list[str] = []
        fold = op == "in~"
        if plain:
            kind = of.type if of.type != "dynamic" else plain[0].type
            if kind == "dynamic":
                kind = "string"
            subject = convert(of, kind, at)
            if subject.type not in ("string",) and any(item.type == "string" for item in plain):
                subject, kind = to_string(subject), "string"
            values = [convert(item, kind, at) if not _numbers(item, kind) else item for item in plain]
            if fold and kind == "string":
                texts = [
                    sql.quote(value.constant.lower())
                    if isinstance(value.constant, str)
                    else f"lower({value.sql})"
                    for value in values
                ]
                parts.append(f"lower({subject.sql}) IN ({', '.join(texts)})")
            else:
                parts.append(f"{subject.sql} IN ({', '.join(value.sql for value in values)})")
        for array in arrays:
            text, members = to_string(of).sql, f"JSONExtract({array.sql}, 'Array(String)')"
            if fold:
                text, members = f"lower({text})", f"arrayMap(x -> lower(x), {members})"
            parts.append(f"has({members}, {text})")
        either = "(" + " OR ".join(parts) + ")"
        if of.type in ("string", "dynamic"):
            return made("bool", either, of, *items)
        return made("bool", f"ifNull({either}, false)", of, *items, where=either)

    def _call(self, node: Call) -> Value:
        name = node.name
        if (
            (own := self.env.find(name)) is not None
            and isinstance(own, Binding)
            and isinstance(own.node, Function)
        ):
            return self.compiler.call_scalar(own, node, self)
        if self.aggregates and (name in AGGREGATES or name in CODED_AGGREGATES):
            return self._aggregate(node)
        if name in CODED:
            return self._named_result(node, CODED[name](self, node, []))
        if name in SCALARS:
            args = [self.bind(arg) for arg in node.args]
            return self._named_result(node, registry.apply(SCALARS[name], node, args), args)
        if name in LOCALS:
            return self._local(node)
        if name in AGGREGATES or name in CODED_AGGREGATES:
            raise KqlError(f"{name}() is an aggregate, which cannot stand here.", node.at, "SEM0085")
        if self.compiler.is_tabular(node, self.env):
            return self._query(Query(node.at, Pipeline(node.at, node, [])))
        raise unknown("function", name, [*LOCALS, *SCALARS, *CODED, *AGGREGATES, *CODED_AGGREGATES], node.at)

    def _local(self, node: Call) -> Value:
        """A function that only Python computes."""
        signatures, work = LOCALS[node.name]
        args = [self.bind(arg) for arg in node.args]
        signature, values = registry.fitted(signatures, node, args)
        found = self.in_python(node.name, values, registry.result_type(signature, values), work)
        return self._named_result(node, found, args)

    def in_python(self, name: str, args: list[Value], returns: str, work: Callable[..., Any]) -> Value:
        """What a Python function makes of values; it takes and gives them as a Frame holds them."""
        return self.local.call(LocalFunction(name, returns, work), args)

    def _named_result(self, node: Call, value: Value, args: list[Value] | None = None) -> Value:
        if node.name in registry.NAMED_AFTER_ARGUMENT and not value.name:
            value.name = args[0].name if args else self._first_name(node)
        elif node.name in registry.NAMED_AFTER_CALL and args and args[0].name:
            value.name = f"{node.name}_{args[0].name}"
        return value

    def _first_name(self, node: Call) -> str:
        return self.bind(node.args[0]).name if node.args and not isinstance(node.args[0], Star) else ""

    def _aggregate(self, node: Call) -> Value:
        inner = self.plain()
        inner.grouped_by = self.grouped_by
        if node.name in CODED_AGGREGATES:
            found = CODED_AGGREGATES[node.name](inner, node, [])
        else:
            args = [inner.bind(arg) for arg in node.args]
            found = registry.apply(AGGREGATES[node.name], node, args)
            if not found.name:
                found.name = f"{node.name}_{args[0].name if args else ''}"
        found.aggregate = True
        return found

    def _query(self, node: Query) -> Value:
        raise KqlError("A table cannot stand where a value is expected; use toscalar().", node.at, "SEM0100")

    def _no_value(self, node: Any) -> Value:
        raise KqlError("This cannot stand where a value is expected.", node.at, "SEM0100")

    def _named(self, node: Named) -> Value:
        """A named argument, whose name may become that of a column."""
        value = replace(self.bind(node.value))
        value.name = node.names[0]
        return value

    def type_of(self, node: Expr) -> str:
        """The type that ``typeof(x)`` names."""
        if not isinstance(node, TypeOf) or len(node.columns) != 1 or node.columns[0][0]:
            raise KqlError("typeof(type) is expected here.", node.at)
        kind = TYPE_NAMES.get(node.columns[0][1])
        if kind is None:
            raise KqlError(f"'{node.columns[0][1]}' is not a type.", node.at)
        return kind


def _numbers(item: Value, kind: str) -> bool:
    return item.type in ("int", "long", "real") and kind in ("int", "long", "real")


def _json_constant(item: Any) -> Value:
    if item is None:
        return constant("string", "")
    if isinstance(item, bool):
        return constant("bool", item)
    if isinstance(item, int):
        return constant("long", item)
    if isinstance(item, float):
        return constant("real", item)
    if isinstance(item, str):
        return constant("string", item)
    return constant("dynamic", json.dumps(item, separators=(",", ":")))


_BINDERS: dict[type, Callable[[Binder, Any], Value]] = {
    Literal: Binder._literal,
    Name: Binder._name,
    Member: Binder._member,
    Index: Binder._index,
    Unary: Binder._unary,
    Binary: Binder._binary,
    Between: Binder._between,
    In: Binder._in,
    Call: Binder._call,
    Named: Binder._named,
    Query: Binder._query,
    Star: Binder._no_value,
    Ordered: Binder._no_value,
    TypeOf: Binder._no_value,
}
