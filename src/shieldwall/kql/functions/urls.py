"""Parts of URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shieldwall.kql import sql
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce
from shieldwall.kql.functions.shapes import bag, held_text
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_SCHEME = r"^(?:([a-zA-Z][a-zA-Z0-9+.-]*):(?://)?)?"
_AUTHORITY = r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//"
_USER = r"(?:([^/?#@:]*)(?::([^/?#@]*))?@)?"
_HOST = r"(\[[^\]/?#]*\]|[^:/?#]*)(?::(\d*))?"
_PATH = r"^(?:(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//[^/?#]*|[a-zA-Z][a-zA-Z0-9+.-]*:)?([^?#]*)"
_PARTS = {
    "Scheme": (_SCHEME, 1),
    "Host": (_AUTHORITY + _USER + _HOST, 3),
    "Port": (_AUTHORITY + _USER + _HOST, 4),
    "Path": (_PATH, 1),
    "Username": (_AUTHORITY + _USER + _HOST, 1),
    "Password": (_AUTHORITY + _USER + _HOST, 2),
}


@coded("parse_url", "parseurl")
def parse_url(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag of the parts of an absolute URL; those that it has not are empty."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)

    def part(pattern: str, group: int) -> Value:
        return held_text(f"regexpExtract({text.sql}, {sql.quote(pattern)}, {group})", text)

    members = {name: part(*found) for name, found in _PARTS.items()}
    query = f"regexpExtract({text.sql}, {sql.quote(r'^[^?#]*[?]([^#]*)')}, 1)"
    members["Query Parameters"] = made("dynamic", _parameters(query), text)
    members["Fragment"] = part(r"^[^#]*#((?s:.*))", 1)
    return bag(members)


@coded("parse_urlquery", "parseurlquery")
def parse_urlquery(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag with the bag of the parameters in the query part of a URL."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    query = f"regexpExtract({text.sql}, '^[?]?([^#]*)', 1)"
    return bag({"Query Parameters": made("dynamic", _parameters(query), text)})


def _parameters(query: str) -> str:
    """SQL of the JSON of a bag of ``a=b&c=d``; of parameters of the same name the first one counts."""
    pairs = f"arrayFilter(p -> p != '', splitByChar('&', {query}))"
    key = "splitByChar('=', p)[1]"
    each = f"concat(toJSONString({key}), ':', toJSONString(substring(p, length({key}) + 2)))"

    def joined(found: str) -> str:
        keys = f"arrayMap(p -> {key}, {found})"
        firsts = f"arrayFilter((p, k, i) -> indexOf({keys}, k) = i, {found}, {keys}, arrayEnumerate({found}))"
        return f"concat('{{', arrayStringConcat(arrayMap(p -> {each}, {firsts}), ','), '}}')"

    return sql.once(pairs, joined)
