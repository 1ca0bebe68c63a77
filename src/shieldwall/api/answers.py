"""Answers of the API: OData envelopes, entities and errors, as bytes with the documented headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shieldwall.api.access import services_of
from shieldwall.api.graph import errors as graph
from shieldwall.api.odata.options import Options
from shieldwall.api.odata.query import Page, Part
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
    body["value"] = items if options is None else [selected(item, options) for item in items]
    if page is not None and page.next is not None:
        body["@odata.nextLink"] = f"{base_url(request)}{request.url.path}?{page.next}"
    return json(body)


def stream(request: Request, context: str, parts: Iterator[Part], options: Options) -> Response:
    """A list that is sent while it is read; what is wrong with the request is told by the first part."""
    first = next(parts)
    head: Entity = {"@odata.context": context_url(request, context)}
    if first.total is not None:
        head["@odata.count"] = first.total
    if options.limit == 0:
        return json({**head, "value": []})
    link = f"{base_url(request)}{request.url.path}?"

    def chunks() -> Iterator[bytes]:
        yield orjson.dumps(head)[:-1] + b',"value":['
        begun = False
        for part in chain((first,), parts):
            items = part.items if options.select is None else [selected(each, options) for each in part.items]
            text = orjson.dumps(items)[1:-1]
            if text:
                yield b"," + text if begun else text
                begun = True
            if part.next is not None:
                yield b'],"@odata.nextLink":' + orjson.dumps(link + part.next) + b"}"
                return
        yield b"]}"

    return StreamingResponse(chunks(), 200, _ODATA_HEADERS)


def context_url(request: Request, context: str) -> str:
    root = graph.root(request.url.path) or "/api"
    return f"{base_url(request)}{root}/$metadata#{context}"


def json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, _ODATA_HEADERS)


def number(count: int) -> Response:
    """The answer of a ``/$count`` path: the digits alone."""
    return Response(str(count), 200, {"Content-Type": "text/plain; charset=utf-8", "OData-Version": "4.0"})


def csdl(document: bytes) -> Response:
    return Response(document, 200, {"Content-Type": "application/xml; charset=utf-8", "OData-Version": "4.0"})


def nothing(status: int = 204) -> Response:
    return Response(status_code=status)


def error(problem: ApiError, request: Request) -> Response:
    """An error in compact JSON, which some clients search for its text; Graph has a shape of its own."""
    ids = getattr(request.state, "graph_ids", None)
    body = problem.body() if ids is None else graph.body(problem, ids)
    return Response(orjson.dumps(body), problem.status, {**_ERROR_HEADERS, **problem.headers})


def selected(item: Mapping[str, Any], options: Options) -> Entity:
    """``item`` with the properties that ``options`` select and expand; all of them where it selects none."""
    if options.select is None:
        return dict(item)
    names = options.select | options.expand
    return {key: content for key, content in item.items() if key.lower() in names}
