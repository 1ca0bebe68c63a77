"""Functions over IPv4 and IPv6 addresses: reading, showing, comparing, networks."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.functions.addresses import V4, V6, Address, Family, Network
from shieldwall.kql.functions.arguments import bound
from shieldwall.kql.functions.registry import coded, coerce, local
from shieldwall.kql.syntax import Call
from shieldwall.kql.values import Value, made

if TYPE_CHECKING:
    from shieldwall.kql.expressions import Binder

_GROUP = sql.quote(r":\1")


def family(call: Call) -> Family:
    return V6 if "ipv6" in call.name else V4


def read(kind: Family, value: Value, body: Callable[[Address], str]) -> str:
    """SQL that ``body`` makes of the address in a string."""
    if isinstance(value.constant, str):
        return body(kind.fixed(kind.constant(value.constant)))
    return sql.once(value.sql, lambda text: body(kind.address(text)))


def _limited(kind: Family, limit: Value | None, bits: list[str], body: Callable[[str], str]) -> str:
    """SQL that ``body`` makes of the least of several bits and of a limit; NULL if that is out of range."""
    known = [int(part) for part in bits if part.isdigit()]
    computed = [part for part in bits if not part.isdigit()]
    if limit is not None and isinstance(limit.constant, int):
        if not 0 <= limit.constant <= kind.size:
            return "NULL"
        known.append(limit.constant)
    elif limit is not None:
        computed.append(f"toUInt8(least(greatest(ifNull({limit.sql}, 0), 0), {kind.size}))")
    if known and (min(known) < kind.size or not computed):
        computed.append(str(min(known)))
    found = body(computed[0] if len(computed) == 1 else f"least({', '.join(computed)})")
    if limit is None or limit.is_constant:
        return found
    return f"if({limit.sql} BETWEEN 0 AND {kind.size}, {found}, NULL)"


def _arguments(binder: Binder, call: Call, least: int, most: int) -> tuple[list[Value], Value | None]:
    """The strings and the limit of bits behind them, if it is given."""
    values = bound(binder, call, least, most)
    texts = [coerce(value, "string", call, place) for place, value in enumerate(values[:least])]
    limit = coerce(values[least], "long", call, least) if len(values) > least else None
    return texts, limit


def _both(
    kind: Family, left: Value, right: Value, limit: Value | None, body: Callable[[str, str], str]
) -> str:
    """SQL that ``body`` makes of two addresses without the bits that do not count in both."""

    def compared(a: Address, b: Address) -> str:
        return _limited(
            kind,
            limit,
            [a.bits, b.bits],
            lambda bits: body(kind.masked(a.number, bits), kind.masked(b.number, bits)),
        )

    return read(kind, left, lambda a: read(kind, right, lambda b: compared(a, b)))


@coded("ipv4_compare", "ipv6_compare")
def compare(binder: Binder, call: Call, _: list[Value]) -> Value:
    """-1, 0 or 1 for the order of two addresses as far as the prefixes of both go; null if one is none."""
    (left, right), limit = _arguments(binder, call, 2, 3)

    def order(a: str, b: str) -> str:
        return f"if(isNull({a}) OR isNull({b}), NULL, multiIf({a} = {b}, 0, {a} < {b}, -1, 1))"

    text = _both(family(call), left, right, limit, order)
    return made("long", f"CAST({text} AS Nullable(Int64))", left, right, *filter(None, [limit]))


@coded("ipv4_is_match", "ipv6_is_match")
def is_match(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether two addresses are the same as far as the prefixes of both go; null if one is none."""
    (left, right), limit = _arguments(binder, call, 2, 3)
    return _matched(family(call), left, right, limit)


@coded("ipv4_is_in_range", "ipv6_is_in_range")
def is_in_range(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether an address lies in a network; null if one of them is none."""
    (left, right), _limit = _arguments(binder, call, 2, 2)
    return _matched(family(call), left, right, None)


def _matched(kind: Family, left: Value, right: Value, limit: Value | None) -> Value:
    text = _both(kind, left, right, limit, lambda a, b: f"({a} = {b})")
    if isinstance(right.constant, str) and not left.is_constant and limit is None:
        network = kind.constant(right.constant)
        text = _inside(kind, left.sql, [network] if network else [], text)
    return made("bool", f"CAST({text} AS Nullable(Bool))", left, right, *filter(None, [limit]))


def _inside(kind: Family, text: str, networks: Sequence[Network], otherwise: str) -> str:
    """SQL of whether SQL of an address lies in constant networks; ``otherwise`` is for one with a prefix."""
    if not networks:
        return "NULL"
    by_bits: dict[int, list[str]] = {}
    for network in dict.fromkeys(networks):
        by_bits.setdefault(network.bits, []).append(kind.literal(network.number))

    def test(number: str, bits: int, some: list[str]) -> str:
        masked = kind.masked(number, str(bits))
        return f"{masked} = {some[0]}" if len(some) == 1 else f"{masked} IN ({', '.join(some)})"

    def tested(number: str) -> str:
        return f"({' OR '.join(test(number, bits, some) for bits, some in by_bits.items())})"

    return sql.once(
        text,
        lambda subject: (
            f"if(position({subject}, '/') = 0, {sql.once(kind.plain(subject), tested)}, {otherwise})"
        ),
    )


@coded("ipv4_is_in_any_range", "ipv6_is_in_any_range")
def is_in_any_range(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether an address lies in one of several networks, given one by one or as an array.

    Null if it is no address; what is no network does not count.
    """
    kind = family(call)
    first, *ranges = bound(binder, call, 2, 10_000)
    value = coerce(first, "string", call, 0)
    networks: list[Network] = []
    others: list[Value] = []
    for place, item in enumerate(ranges):
        if item.type != "dynamic":
            item = coerce(item, "string", call, place + 1)
        if not item.is_constant:
            others.append(item)
            continue
        held = json.loads(item.constant or "[]") if item.type == "dynamic" else item.constant
        texts = held if isinstance(held, list) else [held]
        networks += filter(None, (kind.constant(text) for text in texts if isinstance(text, str)))
    if networks and not others:
        text = _in_constants(kind, value, networks)
        return made("bool", f"CAST({text} AS Nullable(Bool))", value)
    parts = [_in_constants(kind, value, networks)] if networks else []
    parts += [_in_computed(kind, value, item) for item in others]
    valid = read(kind, value, lambda address: f"isNotNull({address.number})")
    joined = " OR ".join(f"ifNull({part}, false)" for part in parts) or "false"
    return made("bool", f"CAST(if({valid}, {joined}, NULL) AS Nullable(Bool))", value, *others)


def _in_constants(kind: Family, value: Value, networks: list[Network]) -> str:
    listed = ", ".join(f"({kind.literal(network.number)}, {network.bits})" for network in networks)

    def each(address: Address) -> str:
        bits = f"least({address.bits}, r.2)"
        same = f"{kind.masked(address.number, bits)} = {kind.masked('r.1', bits)}"
        return f"if(isNull({address.number}), NULL, arrayExists(r -> ifNull({same}, false), [{listed}]))"

    text = read(kind, value, each)
    return text if value.is_constant else _inside(kind, value.sql, networks, text)


def _in_computed(kind: Family, value: Value, item: Value) -> str:
    if item.type != "dynamic":
        return _matched(kind, value, item, None).sql
    same = _matched(kind, value, Value("string", "r"), None).sql
    return f"arrayExists(r -> ifNull({same}, false), JSONExtract({item.sql}, 'Array(String)'))"


_PRIVATE = [Network(10 << 24, 8), Network(172 << 24 | 16 << 16, 12), Network(192 << 24 | 168 << 16, 16)]


@coded("ipv4_is_private")
def is_private(binder: Binder, call: Call, _: list[Value]) -> Value:
    """Whether an address lies in a network that is not routed in the internet; null if it is none."""
    value = coerce(bound(binder, call, 1)[0], "string", call, 0)

    def tested(number: str) -> str:
        return " OR ".join(f"{V4.masked(number, str(bits))} = {network}" for network, bits in _PRIVATE)

    def private(address: Address) -> str:
        return sql.once(V4.masked(address.number, address.bits), tested)

    return made("bool", f"CAST(({read(V4, value, private)}) AS Nullable(Bool))", value)


@coded("ipv4_netmask_suffix")
def netmask_suffix(binder: Binder, call: Call, _: list[Value]) -> Value:
    """The bits of an address's prefix; null if it is none."""
    value = coerce(bound(binder, call, 1)[0], "string", call, 0)
    text = read(V4, value, lambda address: f"if(isNull({address.number}), NULL, {address.bits})")
    return made("long", f"CAST({text} AS Nullable(Int64))", value)


@coded("parse_ipv4", "parse_ipv4_mask")
def parse_ipv4(binder: Binder, call: Call, _: list[Value]) -> Value:
    """An address, without the bits that do not count, as a number; null if it is none."""
    (value,), limit = _masking(binder, call)
    text = _shown(V4, value, limit, lambda number, bits: V4.masked(number, bits))
    return made("long", f"CAST({text} AS Nullable(Int64))", value, *filter(None, [limit]))


@coded("parse_ipv6", "parse_ipv6_mask")
def parse_ipv6(binder: Binder, call: Call, _: list[Value]) -> Value:
    """An address, without the bits that do not count, in full as IPv6; empty if it is none."""
    (value,), limit = _masking(binder, call)

    def full(number: str, bits: str) -> str:
        digits = f"leftPad(lower(hex({V6.masked(number, bits)})), 32, '0')"
        return f"substring(replaceRegexpAll({digits}, '(....)', {_GROUP}), 2)"

    text = _shown(V6, value, limit, full)
    return made("string", f"ifNull({text}, '')", value, *filter(None, [limit]))


def _masking(binder: Binder, call: Call) -> tuple[list[Value], Value | None]:
    return _arguments(binder, call, 1, 2 if call.name.endswith("_mask") else 1)


def _shown(kind: Family, value: Value, limit: Value | None, body: Callable[[str, str], str]) -> str:
    return read(
        kind,
        value,
        lambda address: _limited(kind, limit, [address.bits], lambda bits: body(address.number, bits)),
    )


@coded("format_ipv4", "format_ipv4_mask")
def format_ipv4(binder: Binder, call: Call, _: list[Value]) -> Value:
    """An address, of text or a number, without the bits that do not count; with them behind a slash if asked.

    Empty if it is none.
    """
    value, *rest = bound(binder, call, 1, 2)
    limit = coerce(rest[0], "long", call, 1) if rest else None

    def shown(number: str, bits: str) -> str:
        text = f"IPv4NumToString(toUInt32({V4.masked(number, bits)}))"
        return text if call.name == "format_ipv4" else f"concat({text}, '/', toString({bits}))"

    if value.type in ("int", "long"):
        inside = f"accurateCastOrNull({value.sql}, 'UInt32')"
        text = sql.once(inside, lambda number: _limited(V4, limit, ["32"], lambda bits: shown(number, bits)))
    else:
        value = coerce(value, "string", call, 0)
        text = _shown(V4, value, limit, shown)
    return made("string", f"ifNull({text}, '')", value, *filter(None, [limit]))


@local("ipv4_range_to_cidr_list(string, string) -> dynamic")
def range_to_networks(first: str, last: str) -> Any:
    """The networks that cover all addresses from the first to the last; None if one of them is none."""
    try:
        networks = ipaddress.summarize_address_range(
            ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)
        )
        return [str(network) for network in networks]
    except ValueError:
        return None
