"""Answers of the API: OData envelopes, entities and errors, as bytes with the documented headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from shieldwall.api.access import services_of
from shieldwall.api.odata.options import Options
from shieldwall.api.odata.query import Page
from shieldwall.errors import ApiError

Entity = dict[str, Any]

_ODATA_HEADERS = {
    "Content-Type": "application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8",
    "OData-Version": "4.0",
}
_ERROR_HEADERS = {"Content-Type": "application/json; charset=utf-8"}


def base_url(request: Request) -> str:
    """The own URL that the client called, which contexts and next links repeat."""
    return services_of(request).tokens.audiences.base(request.headers.get("host"))


def entity(request: Request, kind: str, body: Entity, status: int = 200) -> Response:
    """One entity of the set ``kind``."""
    return value(request, f"{kind}/$entity", body, status)


def value(request: Request, context: str, body: Entity, status: int = 200) -> Response:
    """An object whose ``@odata.context`` ends with ``context``."""
    return json({"@odata.context": context_url(request, context), **body}, status)


def collection(
    request: Request,
    context: str,
    items: Sequence[Any],
    page: Page | None = None,
    options: Options | None = None,
) -> Response:
    """A list; with ``page`` its count and next link, with ``options`` only the properties it selects."""
    body: Entity = {"@odata.context": context_url(request, context)}
    if page is not None and page.total is not None:
        body["@odata.count"] = page.total
    if options is not None and options.select is not None:
        items = [_selected(item, options.select | options.expand) for item in items]
    body["value"] = items
    if page is not None and page.next is not None:
        body["@odata.nextLink"] = f"{base_url(request)}{request.url.path}?{page.next}"
    return json(body)


def context_url(request: Request, context: str) -> str:
    return f"{base_url(request)}/api/$metadata#{context}"


def json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, _ODATA_HEADERS)


def number(count: int) -> Response:
    """The answer of a ``/$count`` path: the digits alone."""
    return Response(str(count), 200, {"Content-Type": "text/plain; charset=utf-8", "OData-Version": "4.0"})


def nothing(status: int = 204) -> Response:
    return Response(status_code=status)


def error(problem: ApiError) -> Response:
    """An error in compact JSON: some clients search its text."""
    return Response(orjson.dumps(problem.body()), problem.status, {**_ERROR_HEADERS, **problem.headers})


def _selected(item: Mapping[str, Any], names: frozenset[str]) -> Entity:
    return {key: content for key, content in item.items() if key.lower() in names}
