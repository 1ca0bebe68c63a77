"""buildschema: the least schema that admits all values of a dynamic column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shieldwall.kql.functions.arguments import bound, expect
from shieldwall.kql.functions.dynamics import array_of
from shieldwall.kql.functions.registry import CODED_AGGREGATES, COLLECTED, LOCALS, Param, Signature, coded
from shieldwall.kql.local import OverAggregates
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made, to_dynamic

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

MEMBERS = "`indexer`"
"""The key of what an array's members are like."""


@dataclass(slots=True)
class Schema:
    """What values at one place are like: scalar types, properties of bags, members of arrays."""

    scalars: dict[str, None] = field(default_factory=dict)
    properties: dict[str, Schema] = field(default_factory=dict)

    def admit(self, value: Any) -> None:
        """Widen the schema so that it admits a value too."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self.properties.setdefault(key, Schema()).admit(inner)
        elif isinstance(value, list):
            members = self.properties.setdefault(MEMBERS, Schema())
            for inner in value:
                members.admit(inner)
        elif value is not None:
            self.scalars[_scalar(value)] = None

    def shown(self) -> Any:
        """As JSON: one type, a bag of properties, or a list of what is possible."""
        possible: list[Any] = list(self.scalars)
        if self.properties:
            possible.append({key: inner.shown() for key, inner in self.properties.items()})
        return possible[0] if len(possible) == 1 else possible


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "long" if isinstance(value, int) else "double" if isinstance(value, float) else "string"


def schema_of(values: Any) -> Any:
    """The schema of a list of values; null of none."""
    schema = Schema()
    for value in values if isinstance(values, list) else []:
        schema.admit(value)
    return schema.shown() or None


LOCALS["$schema_of"] = ([Signature("$schema_of", (Param("dynamic"),), "dynamic", "-")], schema_of)
COLLECTED["buildschema"] = ("$values", "$schema_of", "schema")


@coded("buildschema", into=CODED_AGGREGATES)
def buildschema(binder: Binder, call: Call, _: list[Value]) -> Value:
    expect(call, 1)
    raise OverAggregates("buildschema() cannot be computed here.", call.at)


@coded("$values", into=CODED_AGGREGATES)
def values(binder: Binder, call: Call, _: list[Value]) -> Value:
    """All values that are not null."""
    value = to_dynamic(*bound(binder, call, 1))
    return made("dynamic", array_of(f"groupArrayIf({value.sql}, {value.sql} != '')"), value)
