"""What a failed statement leaves in a connection of the embedded engine, thrown away.

chDB puts what a statement had written before it failed in front of the next result of the same connection,
whoever asked for that: rows of another tenant, or numbers of other rules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError

_STATEMENTS = {
    "query": True,
    "command": True,
    "insert": True,
    "raw_query": True,
    "raw_insert": True,
    "raw_stream": False,
}
"""Whether it has ended when it returns. A stream fails, if it does, when its caller reads it."""
_QUESTION, _ANSWER = "SELECT 'clean'", b"clean\n"
_TRIES = 3


def clean(client: Client) -> Client:
    """The same client, whose every result is its own statement's. OperationalError when it cannot be."""
    unsure = False
    ask = client.raw_query

    def guarded(method: Callable[..., Any], *, ends: bool) -> Callable[..., Any]:
        @wraps(method)
        def run(*args: Any, **options: Any) -> Any:
            nonlocal unsure
            if unsure:
                _empty(ask)
                unsure = False
            try:
                return method(*args, **options)
            except BaseException:
                unsure = True
                raise
            finally:
                unsure = unsure or not ends

        return run

    for name, ends in _STATEMENTS.items():
        setattr(client, name, guarded(getattr(client, name), ends=ends))
    return client


def _empty(ask: Callable[[str], bytes]) -> None:
    for _ in range(_TRIES):
        if ask(_QUESTION) == _ANSWER:
            return
    raise OperationalError("a connection of the embedded engine mixes results")
