"""External data comes from the caller's function, when the query runs and not before."""

from __future__ import annotations

from typing import Any

import pytest

from shieldwall.kql.compiler import Compiler
from shieldwall.kql.errors import KqlError
from shieldwall.kql.schema import Schema
from tests.kql.conftest import Run

QUERY = """let Rows = externaldata(name:string, seen:datetime, score:long)
  ["https://example.org/list.csv", h"https://example.org/more.csv"]
  with (format="csv", ignoreFirstRecord=true);
Rows
| where score > 1
| join kind=inner (Rows | project name, again=score) on name
| project name, seen, again"""


def test_rows_come_from_the_callers_function(kql: Run) -> None:
    asked: list[Any] = []

    def fetch(urls: list[str], columns: list[tuple[str, str]], options: dict[str, Any]) -> list[list[Any]]:
        asked.append((urls, columns, options))
        return [["a", 0, 1], ["b", 10_000_000, 2], ["c", None, None]]

    answer = kql(QUERY, Schema(extras={"externaldata": fetch}))

    assert answer.rows == [["b", "1970-01-01T00:00:01.0000000Z", 2]]
    assert asked == [
        (
            ["https://example.org/list.csv", "https://example.org/more.csv"],
            [("name", "string"), ("seen", "datetime"), ("score", "long")],
            {"format": "csv", "ignoreFirstRecord": "true"},
        )
    ]


def test_checking_fetches_nothing() -> None:
    def fetch(*_: Any) -> list[list[Any]]:
        raise AssertionError("fetched")

    assert Compiler(Schema(extras={"externaldata": fetch})).compile(QUERY).columns[0] == ("name", "string")
    assert Compiler().compile(QUERY).columns == [("name", "string"), ("seen", "datetime"), ("again", "long")]


def test_a_refusal_says_where(kql: Run) -> None:
    def fetch(*_: Any) -> list[list[Any]]:
        raise KqlError("The host is not allowed.")

    with pytest.raises(KqlError) as caught:
        kql(QUERY, Schema(extras={"externaldata": fetch}))
    assert caught.value.message == "The host is not allowed."
    assert caught.value.offset == QUERY.index("externaldata")


def test_the_columns_of_an_unknown_bag_are_taken_on_trust() -> None:
    query = "print d=dynamic({}) | evaluate bag_unpack(d) | where Anything has 'x' | extend n=strlen(Other)"
    assert Compiler().compile(query).columns == [
        ("Anything", "dynamic"),
        ("Other", "dynamic"),
        ("n", "long"),
    ]
