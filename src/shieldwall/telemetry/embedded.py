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

_STATEMENTS = ("query", "command", "insert", "raw_query", "raw_insert")
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

    for name in _STATEMENTS:
        setattr(client, name, guarded(getattr(client, name), ends=True))
    # A stream fails, if it does, when its caller reads it.
    setattr(client, "raw_stream", guarded(client.raw_stream, ends=False))  # noqa: B010
    return client


def _empty(ask: Callable[[str], bytes]) -> None:
    for _ in range(_TRIES):
        if ask(_QUESTION) == _ANSWER:
            return
    raise OperationalError("a connection of the embedded engine mixes results")
