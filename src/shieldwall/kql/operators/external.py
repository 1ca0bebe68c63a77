"""externaldata, and invoke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame
from shieldwall.kql.local import whole
from shieldwall.kql.operators.registry import operator, source
from shieldwall.kql.operators.sources import columns_once, constant_rows
from shieldwall.kql.relation import Relation
from shieldwall.kql.scope import Environment, unknown
from shieldwall.kql.syntax import Operator
from shieldwall.kql.values import UNKNOWN, Value

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

REFUSED = "externaldata is not allowed here: no host is on the list of those that queries may read from."


@source("externaldata")
def externaldata(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    """Rows that ``schema.extras["externaldata"]`` gives, when the query runs.

    That is a callable of the addresses, the columns (name, type) and the options. It gives rows with values
    as a Frame holds them, or raises a KqlError when a host is not allowed or the data cannot be read.
    """
    from shieldwall.kql.compiler import type_named

    columns = [(name, type_named(kind, node.at)) for name, kind in node.parts["columns"]]
    columns_once(columns, node.at)
    if not columns:
        raise KqlError("externaldata needs columns.", node.at)
    binder = Binder(compiler, env)
    addresses = [_text(binder.bind(item), item.at) for item in node.parts["addresses"]]
    options = {name: _option(binder, value) for name, value in node.parts["options"].items()}
    fetch = compiler.schema.extras.get("externaldata")
    if fetch is None:
        if compiler.engine is not None:
            raise KqlError(REFUSED, node.at, "E_EXTERNALDATA")
        return constant_rows(columns, [])
    fetched: list[list[Any]] | None = None

    def work(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        nonlocal fetched
        if fetched is None:
            try:
                fetched = [list(row) for row in fetch(addresses, columns, options)]
            except KqlError as error:
                error.offset = error.offset or node.at
                raise
        places = [next(place for place, (name, _) in enumerate(columns) if name == wish) for wish in wanted]
        return [[row[place] for place in places] for row in fetched]

    return whole(compiler, [], columns, work)


def _text(value: Value, at: int) -> str:
    if not isinstance(value.constant, str):
        raise KqlError("The address of external data must be a constant string.", at)
    return value.constant


def _option(binder: Binder, value: Any) -> Any:
    """Options are words or literals; anything else must be constant."""
    if not hasattr(value, "at"):
        return value
    constant = binder.bind(value).constant
    if constant is UNKNOWN:
        raise KqlError("An option of external data must be constant.", value.at)
    return constant


@operator("invoke")
def invoke(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    """What a function with a tabular first parameter makes of the input."""
    call = node.parts["call"]
    found = compiler.call_relation(call, env, piped=relation)
    if found is None:
        if isinstance(bound := env.find(call.name), Relation) or bound is None:
            raise unknown("function", call.name, [*compiler.schema.functions, *env.visible()], call.at)
        raise KqlError(f"{call.name}() gives no table.", call.at)
    return found
