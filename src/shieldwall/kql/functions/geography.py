"""Where IP addresses are, as far as the operator has given a database of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, constant, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

DATABASE = "geo_info_from_ip_address"
"""The extra of the schema that names a dictionary of ClickHouse: layout ``IP_TRIE``, attributes ``country``,
``state`` and ``city`` (String), ``latitude`` and ``longitude`` (Float64)."""

_TEXTS = ("country", "state", "city")
_NUMBERS = ("latitude", "longitude")


@coded("geo_info_from_ip_address")
def geo_info_from_ip_address(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag with country, state, city, latitude and longitude; null for what is not known, or no database."""
    value = coerce(bound(binder, call, 1)[0], "string", call, 0)
    name = binder.compiler.schema.extras.get(DATABASE)
    if not isinstance(name, str) or not name:
        return constant("dynamic", None)
    key = f"ifNull(toIPv6OrNull({value.sql}), toIPv6('::'))"

    def attribute(part: str) -> str:
        return f"dictGet({sql.quote(name)}, {sql.quote(part)}, {key})"

    known = f"dictHas({sql.quote(name)}, {key})"
    parts = [f"'\"{part}\":', toJSONString({attribute(part)})" for part in (*_TEXTS, *_NUMBERS)]
    joined = ", ',', ".join(parts)
    text = f"if({known}, concat('{{', {joined}, '}}'), '')"
    by_index = {sql.quote(part): part for part in _TEXTS}

    def reader(index: str) -> Value | None:
        part = by_index.get(index)
        if part is None:
            return None
        held = f"if({known}, {attribute(part)}, '')"
        return made("dynamic", f"if({known}, toJSONString({attribute(part)}), '')", value, string=held)

    return made("dynamic", text, value, reader=reader)
