"""Short texts that would cost very much: each is refused, or answered, in no time and little memory."""

from __future__ import annotations

import contextlib
import time

import pytest

from shieldwall.kql.compiler import Compiler
from shieldwall.kql.errors import KqlError
from shieldwall.telemetry.hunting import hunting_schema
from tests.kql.conftest import Run

SECONDS = 20.0
"""Far more than a refusal takes, and far less than what is refused would."""


def chained(kind: str, first: str, body: str, levels: int) -> str:
    """Functions, or tables, each of which is made of the one before it twice."""
    parts = [f"let {kind}0 = {first};"]
    parts += [f"let {kind}{level + 1} = {body.format(f'{kind}{level}')};" for level in range(levels)]
    return " ".join(parts)


DOUBLED = [
    f"let f = (x:string) {{ strcat(x, x) }}; print y = {'f(' * 40}tostring(rand()){')' * 40}",
    chained("f", "(x:long) { 1 }", "(x:long) {{ {0}(x) + {0}(x) }}", 60) + " print f60(1)",
    chained("t", "print x = 1", "union {0}, {0}", 40) + " t40 | count",
    "print x = 1 | as a0" + "".join(f" | union a{level} | as a{level + 1}" for level in range(60)),
    f"let f = (T:(x:long)) {{ T | union T }}; {'f(' * 40}print x = 1{')' * 40}",
    f"let f = (T:(x:long)) {{ T | join (T) on x | project x }}; {'f(' * 40}print x = 1{')' * 40}",
]


@pytest.mark.parametrize("text", DOUBLED)
def test_what_doubles_at_each_level_is_refused(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(KqlError, match="too complex"):
        Compiler(hunting_schema()).compile(text)
    assert time.monotonic() - began < SECONDS


def test_no_regular_expression_takes_long_where_python_matches_it(kql: Run) -> None:
    """Conditions over states of scan are not computed by ClickHouse."""
    began = time.monotonic()
    found = kql(
        f"datatable(v:string)['{'a' * 60}!', '{'a' * 60}'] | scan declare (p:string = '') with "
        "(step one: true => p = v; step two: one.p matches regex '^(a+)+$' => p = 'matched';)"
    )
    assert time.monotonic() - began < SECONDS
    assert len(found.rows) == 2


@pytest.mark.parametrize(
    "rows",
    [
        "range i from 1 to 40 step 1 | extend d = repeat(dynamic([]), 500000)",
        "range i from 1 to 200 step 1 | extend d = repeat(1.5, 100000)",
    ],
)
def test_rows_that_do_not_fit_into_memory_do_not_come_to_python(kql: Run, rows: str) -> None:
    with pytest.raises(KqlError, match="resource"):
        kql(f"{rows} | extend p = series_outliers(d) | summarize max(array_length(p))")


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("form", ["{}", "{}d", "{}.0d", "long({})", "long(0x{})", "timespan({}.01:01:01)"])
def test_numbers_of_any_length_are_numbers_or_mistakes(form: str, digits: int) -> None:
    with contextlib.suppress(KqlError):
        Compiler(hunting_schema()).compile(f"print x = {form.format('9' * digits)}")
