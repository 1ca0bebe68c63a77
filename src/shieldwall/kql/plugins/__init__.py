"""The plugins of ``evaluate``, each a function of its input and its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.errors import KqlError
from shieldwall.kql.operators.registry import operator, source
from shieldwall.kql.plugins import (  # noqa: F401
    activity,
    bags,
    geo_lookup,
    lookups,
    merging,
    neighbours,
    patterns,
    percentiles,
    pivoting,
    refused,
    sequences,
    sketches,
)
from shieldwall.kql.plugins.registry import PLUGINS, Use, arguments
from shieldwall.kql.relation import Relation, Select
from shieldwall.kql.scope import Environment, unknown
from shieldwall.kql.syntax import Call, Operator

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler


@operator("evaluate")
def evaluate(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    call: Call = node.parts["call"]
    declared = PLUGINS.get(call.name)
    if declared is None:
        raise unknown("plugin", call.name, PLUGINS, call.at)
    args, rest = arguments(call, declared)
    return declared.work(Use(compiler, relation, call, env, args, rest, node.parts["schema"]))


@source("evaluate")
def evaluate_source(compiler: Compiler, node: Operator, env: Environment) -> Relation:
    call: Call = node.parts["call"]
    if (declared := PLUGINS.get(call.name)) is not None and not declared.sourceless:
        raise KqlError(f"{call.name} needs a table before it.", call.at)
    return evaluate(compiler, Select([], None), node, env)
