"""Property bags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made, to_dynamic

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder


@coded("bag_keys")
def bag_keys(binder: Binder, call: Call, _: list[Value]) -> Value:
    (value,) = bound(binder, call, 1)
    value = to_dynamic(value)
    text = f"if(startsWith({value.sql}, '{{'), toJSONString(JSONExtractKeys({value.sql})), '')"
    return made("dynamic", text, value)
