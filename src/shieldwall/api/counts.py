"""``/$count`` of collections that do not count by themselves: the same list, asked for its count alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from shieldwall.api import answers
from shieldwall.api.contract import load, shape
from shieldwall.api.odata.options import read_query
from shieldwall.api.routing import router as new_router

_NOT_COUNTED = frozenset({"top", "skip", "skiptoken", "count", "select", "orderby", "expand", "pagesize"})
# Functions with arguments; exports, which are read page by page to their end.
_UNCOUNTED = re.compile(r"\(|ByMachine/", re.IGNORECASE)


def router_of(routes: Iterable[object]) -> APIRouter:
    """The counts of collections among ``routes``, to be looked at before what has an id in their place."""
    lists = {shape(each.path) for each in load().operations if each.method == "GET" and each.answer.many}
    known = [route for route in routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())]
    present = {shape(route.path) for route in known}
    router = new_router("Counts")
    for route in known:
        path = f"{route.path}/$count"
        countable = shape(route.path) in lists and not _UNCOUNTED.search(path)
        if countable and not inspect.iscoroutinefunction(route.endpoint) and shape(path) not in present:
            summary = f"Count: {(route.summary or route.path)}"
            router.get(path, summary=summary, tags=route.tags)(_counting(route.endpoint))
    return router


def _counting(endpoint: Callable[..., Response]) -> Callable[..., Response]:
    @wraps(endpoint)
    def count(**arguments: Any) -> Response:
        request: Request = arguments["request"]
        kept = [pair for pair in read_query(request.url.query) if _plain(pair[0]) not in _NOT_COUNTED]
        query = urlencode([*kept, ("$count", "true"), ("$top", "0")], quote_via=quote)
        asked = Request({**request.scope, "query_string": query.encode()}, request.receive)
        body = orjson.loads(endpoint(**{**arguments, "request": asked}).body)
        return answers.number(body.get("@odata.count", len(body["value"])))

    # With the types themselves: their names mean nothing in this module.
    count.__signature__ = inspect.signature(endpoint, eval_str=True)  # type: ignore[attr-defined]
    return count


def _plain(name: str) -> str:
    return name.lower().lstrip("$")
