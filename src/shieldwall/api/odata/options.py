"""Reads the query options of a request into data. Options that are not OData's are nobody's business here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import orjson

from shieldwall import times
from shieldwall.api.odata.compile import literal
from shieldwall.api.odata.errors import odata_error
from shieldwall.api.odata.fields import EntitySet, Field
from shieldwall.api.odata.parser import parse_filter
from shieldwall.api.odata.tree import Expression, Value

OPTIONS_LIMIT = 64
ORDER_LIMIT = 8
TOKEN_LIMIT = 8192
SKIP_LIMIT = 10_000_000

Order = tuple[tuple[Field, bool], ...]


@dataclass(frozen=True)
class Options:
    """What a request asks of a collection. ``order`` always ends with the key, so it is total."""

    filter: Expression | None
    order: Order
    top: int | None
    skip: int
    count: bool
    select: frozenset[str] | None
    expand: frozenset[str]
    page_size: int
    after: tuple[Value, ...] | None
    """Where the page before this one ended: its last row's values of ``order``."""
    pairs: tuple[tuple[str, str], ...]
    """The query as it came, for the next link."""

    @property
    def limit(self) -> int:
        return self.page_size if self.top is None else min(self.top, self.page_size)


def read_options(query: str, entity: EntitySet, max_page_size: int | None = None) -> Options:
    """The options of a query string; ApiError ``ODataError`` names the one that is wrong."""
    pairs = read_query(query)
    named = _by_name(pairs)
    page_size = _number(named, "pagesize", 1, None) or max_page_size or entity.page_limit
    order = _order(named.get("orderby", ""), entity)
    text = named.get("filter", "").strip()
    token = named.get("skiptoken")
    return Options(
        filter=parse_filter(text) if text else None,
        order=order,
        top=_top(named, entity),
        skip=_number(named, "skip", 0, SKIP_LIMIT) or 0,
        count=named.get("count", "").strip().lower() == "true",
        select=_select(named.get("select", ""), entity),
        expand=_expand(named.get("expand", ""), entity),
        page_size=min(page_size, entity.page_limit),
        after=None if token is None else _after(token, order),
        pairs=tuple(pairs),
    )


def read_query(query: str) -> list[tuple[str, str]]:
    """Names and values of a query string, blank values too."""
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=OPTIONS_LIMIT)
    except ValueError:
        raise odata_error(f"The query has more than {OPTIONS_LIMIT} options.") from None


def next_query(options: Options, last: Sequence[Value]) -> str:
    """The query string of the page after the one that ended with the values ``last`` of the order."""
    kept = [
        (name, value)
        for name, value in options.pairs
        if name.lower().lstrip("$") not in ("skip", "skiptoken", "top")
    ]
    if options.top is not None:
        kept.append(("$top", str(options.top - options.limit)))
    values = [times.to_text(value) if isinstance(value, datetime) else value for value in last]
    token = base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")
    return urlencode([*kept, ("$skiptoken", token)], quote_via=quote, safe="$',:/()")


def _by_name(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """System options by their name in lower case; the dollar sign may be missing, but not twice be there."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower().lstrip("$")
        if key in found and name.startswith("$"):
            raise odata_error(f"The option '{name[:40]}' is there twice.")
        found[key] = value
    return found


def _top(named: dict[str, str], entity: EntitySet) -> int | None:
    top = _number(named, "top", 0, None)
    if top is not None and top > entity.page_limit and entity.page_limit >= 10_000:
        raise odata_error(
            f"The limit of '{entity.page_limit}' for Top query has been exceeded."
            f" The value from the incoming request is '{top}'."
        )
    return top


def _number(named: dict[str, str], name: str, least: int, most: int | None) -> int | None:
    text = named.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19) or int(text) < least:
        raise odata_error(f"The option '{name}' must be a number of at least {least}.")
    if most is not None and int(text) > most:
        raise odata_error(f"The option '{name}' must not exceed {most}.")
    return int(text)


def _order(text: str, entity: EntitySet) -> Order:
    wanted: list[tuple[str, bool]] = []
    for part in text.split(","):
        words = part.replace("+", " ").split()
        if not words:
            continue
        if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
            raise odata_error(f"The option 'orderby' cannot be read at '{part.strip()[:80]}'.")
        wanted.append((words[0], len(words) == 2 and words[1].lower() == "desc"))
    if len(wanted) > ORDER_LIMIT:
        raise odata_error(f"The option 'orderby' names more than {ORDER_LIMIT} properties.")
    order: dict[str, tuple[Field, bool]] = {}
    for name, descending in (*(wanted or entity.order), (entity.key, False)):
        field = entity.field(name)
        order.setdefault(field.name, (field, descending))
    return tuple(order.values())


def _select(text: str, entity: EntitySet) -> frozenset[str] | None:
    names = {name.strip() for name in text.split(",") if name.strip()}
    if not names or "*" in names:
        return None
    return frozenset(name.lower() for name in names)


def _expand(text: str, entity: EntitySet) -> frozenset[str]:
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    for name in names - entity.expand:
        raise odata_error(f"The property '{name[:80]}' cannot be expanded on {entity.name}.")
    return frozenset(names)


def _after(token: str, order: Order) -> tuple[Value, ...]:
    wrong = odata_error("The skiptoken is not valid for this query.")
    if len(token) > TOKEN_LIMIT:
        raise wrong
    try:
        values: Any = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        raise wrong from None
    if not isinstance(values, list) or len(values) != len(order):
        raise wrong
    for value in values:
        if not (value is None or isinstance(value, str | int | float | bool)):
            raise wrong
        if isinstance(value, str) and "\x00" in value:
            raise wrong
    return tuple(
        None if value is None else literal(field, value)
        for (field, _), value in zip(order, values, strict=True)
    )
