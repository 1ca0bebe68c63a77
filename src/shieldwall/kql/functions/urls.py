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

_SCHEME = sql.quote(r"^([a-zA-Z][a-zA-Z0-9+.-]*):")
_AUTHORITY = sql.quote(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//([^/?#]*)")
_PATH = sql.quote(r"^(?:(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//[^/?#]*|[a-zA-Z][a-zA-Z0-9+.-]*:)?([^?#]*)")
_QUERY = sql.quote(r"^[^?#]*[?]([^#]*)")
_IN_BRACKETS = sql.quote(r"^\[[^\]]*\]")


@coded("parse_url", "parseurl")
def parse_url(binder: Binder, call: Call, _: list[Value]) -> Value:
    """A bag of the parts of an absolute URL; those that it has not are empty."""
    text = coerce(bound(binder, call, 1)[0], "string", call, 0)
    authority = f"regexpExtract({text.sql}, {_AUTHORITY}, 1)"
    parts = {
        "Scheme": f"regexpExtract({text.sql}, {_SCHEME}, 1)",
        "Host": sql.once(authority, lambda found: sql.once(_behind_user(found), _host)),
        "Port": sql.once(authority, lambda found: sql.once(_behind_user(found), _port)),
        "Path": f"regexpExtract({text.sql}, {_PATH}, 1)",
        "Username": sql.once(authority, lambda found: f"substringIndex({_user(found)}, ':', 1)"),
        "Password": sql.once(authority, _password),
    }
    members = {name: held_text(part, text) for name, part in parts.items()}
    members["Query Parameters"] = made(
        "dynamic", _parameters(f"regexpExtract({text.sql}, {_QUERY}, 1)"), text
    )
    members["Fragment"] = held_text(
        f"if(position({text.sql}, '#') = 0, '', substring({text.sql}, position({text.sql}, '#') + 1))", text
    )
    return bag(members)


def _behind_user(authority: str) -> str:
    return f"substring({authority}, position({authority}, '@') + 1)"


def _user(authority: str) -> str:
    """SQL of the name and password in front of the host."""
    return f"substring({authority}, 1, greatest(toInt64(position({authority}, '@')) - 1, 0))"


def _password(authority: str) -> str:
    user = _user(authority)
    return f"if(position({user}, ':') = 0, '', substring({user}, position({user}, ':') + 1))"


def _host(server: str) -> str:
    """SQL of the host of ``host:port``; an address of IPv6 is in brackets."""
    bare = f"substringIndex({server}, ':', 1)"
    return f"if(startsWith({server}, '['), extract({server}, {_IN_BRACKETS}), {bare})"


def _port(server: str) -> str:
    rest = f"substring({server}, length({_host(server)}) + 1)"
    return f"if(startsWith({rest}, ':'), substring({rest}, 2), '')"


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
