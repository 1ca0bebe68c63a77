"""What holds for every query: no crash, no hang, and laws of filters and nulls, on generated queries."""

from __future__ import annotations

import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shieldwall.kql.compiler import Compiler
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.registry import AGGREGATES, CODED, CODED_AGGREGATES, LOCALS, SCALARS
from shieldwall.kql.lexer import tokenize
from shieldwall.kql.operators import OPERATORS
from shieldwall.telemetry.hunting import hunting_schema
from tests.kql.conftest import Run

BOUNDED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SECONDS = 5.0
"""Far more than any text of these sizes takes."""

FUNCTIONS = sorted({*SCALARS, *CODED, *LOCALS, *AGGREGATES, *CODED_AGGREGATES})
COLUMNS = [
    "Timestamp",
    "DeviceId",
    "ProcessId",
    "ProcessCommandLine",
    "AdditionalFields",
    "FileSize",
    "Nonsense",
]
LITERALS = [
    "1", "-1", "0.5", "true", "''", "'a b'", '"x\\ty"', "datetime(2024-01-02)", "datetime(null)", "1h", "-3d",
    "dynamic([1, null, 'x'])", "dynamic({'a': {'b': 1}})", "long(null)", "int(7)", "guid(null)",
    "decimal(1.5)", "9223372036854775807", "1e308", "typeof(long)", "*", "now()",
]  # fmt: skip
SIGNS = ["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "and", "or", "has", "contains", "startswith", "=~",
         "has_cs", "matches regex", "!contains", "!has", "hasprefix", "endswith_cs"]  # fmt: skip

expressions = st.recursive(
    st.sampled_from([*COLUMNS, *LITERALS]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(SIGNS), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(st.sampled_from(FUNCTIONS), st.lists(inner, max_size=4)).map(
            lambda parts: f"{parts[0]}({', '.join(parts[1])})"
        ),
        st.tuples(
            inner, st.sampled_from(["in", "!in", "in~", "has_any", "has_all"]), st.lists(inner, max_size=3)
        ).map(lambda parts: f"({parts[0]} {parts[1]} ({', '.join(parts[2])}))"),
        st.tuples(inner, st.sampled_from([".a", "[0]", "['b']", "[-1]", ".a.b[1]"])).map("".join),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} between ({parts[1]} .. {parts[2]}))"),
    ),
    max_leaves=8,
)
stages = st.one_of(
    expressions.map(lambda text: f"where {text}"),
    expressions.map(lambda text: f"extend a = {text}"),
    expressions.map(lambda text: f"project {text}, b = 1"),
    st.tuples(expressions, expressions).map(lambda parts: f"summarize {parts[0]} by {parts[1]}"),
    st.tuples(expressions, st.sampled_from(["asc", "desc", "asc nulls last"])).map(
        lambda parts: f"sort by {parts[0]} {parts[1]}"
    ),
    expressions.map(lambda text: f"mv-expand {text}"),
    expressions.map(lambda text: f"distinct {text}"),
    expressions.map(lambda text: f"top 3 by {text}"),
    st.sampled_from(
        [
            "take 5",
            "count",
            "project-away Device*",
            "join kind=inner (DeviceInfo) on DeviceId",
            "union DeviceFileEvents",
            "as T",
            "getschema",
            "serialize n = row_number()",
            "make-series count() on Timestamp step 1h",
            "parse ProcessCommandLine with * 'x' y:long *",
            "evaluate bag_unpack(AdditionalFields)",
            "partition by DeviceId (take 1)",
            "top-nested 2 of DeviceId by count()",
            "render barchart",
        ]
    ),
)
queries = st.lists(stages, max_size=4).map(lambda parts: " | ".join(["DeviceProcessEvents", *parts]))


def compiles(text: str) -> bool:
    """Whether a text is a query; anything but a KqlError is a defect."""
    began = time.monotonic()
    try:
        Compiler(hunting_schema()).compile(text)
    except KqlError as error:
        assert error.message
        assert error.line >= 1, text
        assert error.column >= 1, text
        return False
    finally:
        assert time.monotonic() - began < SECONDS
    return True


@BOUNDED
@given(queries)
def test_generated_queries_compile_or_are_refused(text: str) -> None:
    compiles(text)


@BOUNDED
@given(queries)
def test_what_compiles_is_sql_that_runs(kql: Run, text: str) -> None:
    """Over constant rows with a column of each type, so that the engine sees every kind of value."""
    source = (
        "datatable(Timestamp: datetime, DeviceId: string, ProcessId: long, "
        "ProcessCommandLine: string, AdditionalFields: dynamic, FileSize: int, r: real, b: bool, "
        "s: timespan, g: guid)"
        "[datetime(2024-01-02 03:04:05), 'd1', 7, 'cmd.exe /c x', dynamic({'a': {'b': [1, 2]}}), 3, 0.5, "
        "true, 1h, guid(74be27de-1e4e-49d9-b579-fe0b331d3642), datetime(null), '', long(null), '', "
        "dynamic(null), int(null), real(null), bool(null), timespan(null), guid(null)]"
    )
    try:
        kql(text.replace("DeviceProcessEvents", source), hunting_schema())
    except KqlError:
        return


@BOUNDED
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    compiles(text)


MARKS = ["|", "(", ")", "[", "]", "{", "}", ",", ";", "=", "by", "on", "let", "kind=inner", "..", ":", "step"]
words = st.lists(st.sampled_from([*OPERATORS, *SIGNS, *COLUMNS, *LITERALS, *MARKS]), max_size=30).map(
    " ".join
)


@BOUNDED
@given(words)
def test_any_words_are_read_or_refused(text: str) -> None:
    compiles(f"DeviceProcessEvents | {text}")


@BOUNDED
@given(queries, st.integers(0, 400), st.integers(0, 400))
def test_pieces_of_queries_are_read_or_refused(text: str, start: int, end: int) -> None:
    compiles(text[:start] + text[end:])


@BOUNDED
@given(st.text(max_size=100))
def test_tokens_cover_the_text(text: str) -> None:
    try:
        tokens = tokenize(text)
    except KqlError:
        return
    for token in tokens:
        assert text[token.start : token.end] == token.text


ROWS = "range x from -3 to 3 step 1 | extend y = iff(x == 0, long(null), x * 2), z = tostring(x)"
conditions = st.recursive(
    st.sampled_from(
        ["x > 0", "y == 2", "y != 2", "isnull(y)", "y > long(null)", "z has '1'", "z contains '-'",
         "x in (1, 2)", "y in (2, 4)", "y !in (2, 4)", "true", "false", "bool(null)", "x between (0 .. 2)",
         "y == x", "y != x"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda text: f"not({text})"),
    ),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conditions, conditions)
def test_filters_can_be_joined(kql: Run, a: str, b: str) -> None:
    assert kql(f"{ROWS} | where {a} | where {b}").rows == kql(f"{ROWS} | where ({a}) and ({b})").rows


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conditions)
def test_a_filter_keeps_what_its_value_says(kql: Run, a: str) -> None:
    kept = kql(f"{ROWS} | where {a} | project x").rows
    assert kept == [[x] for x, value in kql(f"{ROWS} | project x, value = ({a})").rows if value]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conditions, conditions)
def test_logic_has_three_values(kql: Run, a: str, b: str) -> None:
    rows = kql(
        f"{ROWS} | project a = ({a}), b = ({b}), x = ({a}) and ({b}), y = ({a}) or ({b}), n = not({a})"
    ).rows
    for left, right, both, either, opposite in rows:
        assert both == (False if False in (left, right) else None if None in (left, right) else True)
        assert either == (True if True in (left, right) else None if None in (left, right) else False)
        assert opposite == (None if left is None else not left)
