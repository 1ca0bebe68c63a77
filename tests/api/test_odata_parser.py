"""The parser by itself: what it reads, what it refuses, and that nothing makes it fail otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.api import sets
from shieldwall.api.odata.compile import compile_filter
from shieldwall.api.odata.parser import DEPTH_LIMIT, NODE_LIMIT, parse_filter
from shieldwall.api.odata.tokens import TEXT_LIMIT
from shieldwall.api.odata.tree import (
    Call,
    Comparison,
    Expression,
    Lambda,
    Literal,
    Logical,
    Membership,
    Not,
    Path,
)
from shieldwall.errors import ApiError
from shieldwall.times import to_text


def text_of(tree: Expression) -> str:
    """A tree as OData text, with brackets around everything that could need them."""
    match tree:
        case Literal(value):
            if value is None or isinstance(value, bool):
                return {None: "null", True: "true", False: "false"}[value]
            if isinstance(value, datetime):
                return to_text(value)
            return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
        case Path(names):
            return "/".join(names)
        case Call(name, arguments):
            return f"{name}({', '.join(map(text_of, arguments))})"
        case Comparison(operator, left, right):
            return f"({text_of(left)} {operator} {text_of(right)})"
        case Membership(item, values):
            return f"({text_of(item)} in ({', '.join(map(text_of, values))}))"
        case Logical(operator, operands):
            return "(" + f" {operator} ".join(map(text_of, operands)) + ")"
        case Not(operand):
            return f"(not {text_of(operand)})"
        case Lambda(quantifier, collection, variable, condition):
            inner = "" if condition is None else f"{variable}: {text_of(condition)}"
            return f"{text_of(collection)}/{quantifier}({inner})"


_RESERVED = {
    "and",
    "or",
    "not",
    "in",
    "eq",
    "ne",
    "gt",
    "ge",
    "lt",
    "le",
    "any",
    "all",
    "true",
    "false",
    "null",
}
_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name.lower() not in _RESERVED
)
_literals = st.builds(
    Literal,
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**18), 10**18),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12),
        st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)),
    ),
)
_paths = st.builds(Path, st.lists(_names, min_size=1, max_size=3).map(tuple))
_calls = st.builds(Call, _names.map(str.lower), st.lists(st.one_of(_paths, _literals), max_size=3).map(tuple))
_operands = st.one_of(_literals, _paths, _calls)
_atoms = st.one_of(
    st.builds(Comparison, st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"]), _operands, _operands),
    st.builds(Membership, _operands, st.lists(_literals, max_size=4).map(tuple)),
)
_trees = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.builds(
            Logical, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=4).map(tuple)
        ),
        st.builds(Not, inner),
        st.builds(Lambda, st.sampled_from(["any", "all"]), _paths, _names, inner),
        st.builds(Lambda, st.just("any"), _paths, st.none(), st.none()),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(_trees)
def test_a_tree_written_as_text_is_read_as_the_same_tree(tree: Expression) -> None:
    assert parse_filter(text_of(tree)) == tree


WORDS = """
severity status title evidence mitreTechniques any( all( e: e/sha1 ( ) [ ] , ' '' 'x' and or not in eq ne gt
lt null true 1 -1 1.5 1e400 2026-01-01 2026-13-01T25:00:00Z ; -- /* */ \\ % é 😀 contains( date( year(
UNION SELECT
"""
_fragments = st.lists(st.sampled_from([*WORDS.split(), "\x00"]), max_size=25).map(" ".join)


def refusal(text: str) -> tuple[int, str] | None:
    """Status and code with which a filter is refused on either database, None for one that is not."""
    try:
        tree = parse_filter(text)
        for dialect in ("sqlite", "postgresql"):
            compile_filter(tree, sets.ALERTS, dialect)
    except ApiError as error:
        return error.status, error.code
    return None


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=60), _fragments))
def test_any_text_is_read_or_refused_with_the_documented_error(text: str) -> None:
    assert refusal(text) in (None, (400, "ODataError"))


@pytest.mark.parametrize(
    "text",
    [
        "severity eq",
        "severity eq 'High",
        "severity eq 'High' and",
        "eq 'High'",
        "(severity eq 'High'",
        "severity eq 'High')",
        "severity == 'High'",
        "severity in ('High'",
        "severity in ('High' 'Low')",
        "severity in (status)",
        "evidence/any(e e/sha1 eq 'x')",
        "evidence/all()",
        "alertCreationTime gt 2026-02-30T00:00:00Z",
        "title eq 'a\x00b'",
        "incidentId eq 1e999",
        "'a' 'b'",
        "",
    ],
)
def test_what_is_not_an_expression_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_filter(text)
    assert caught.value.code == "ODataError"


@pytest.mark.parametrize(
    "text",
    [
        "servity eq 'High'",
        "severity gt 'Low'",
        "severity",
        "'a' eq 'a'",
        "severity eq status",
        "5",
        "incidentId eq 'abc'",
        "incidentId eq 99999999999999999999",
        "contains(incidentId, '1')",
        "contains(title)",
        "year(title) eq 1",
        "exec('rm') eq 1",
        "alertCreationTime gt 'yesterday'",
        "alertCreationTime gt 5",
        "evidence eq 'x'",
        "evidence/any(e: e/nothing eq 1)",
        "title/any(t: t eq 'x')",
        "evidence/any(e: mitreTechniques/any(t: t eq 'x'))",
        "date(alertCreationTime) eq 9999-12-31",
    ],
)
def test_what_means_nothing_for_alerts_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        compile_filter(parse_filter(text), sets.ALERTS, "sqlite")
    assert caught.value.code == "ODataError"


def test_bounds() -> None:
    deep = "(" * (DEPTH_LIMIT - 1) + "id eq '1'" + ")" * (DEPTH_LIMIT - 1)
    assert parse_filter(deep) == Comparison("eq", Path(("id",)), Literal("1"))
    wide = " or ".join(["id eq '1'"] * (NODE_LIMIT // 3 - 1))
    assert len(parse_filter(wide).operands) == NODE_LIMIT // 3 - 1  # type: ignore[union-attr]
    for text in (
        f"({deep})",
        f"{wide} or id eq '1' or id eq '1'",
        "(" * 5000,
        "not " * 4000,
        "'" + "x" * TEXT_LIMIT,
    ):
        with pytest.raises(ApiError):
            parse_filter(text)


def test_values_become_parameters_and_never_text() -> None:
    evil = "x'' OR 1=1; DROP TABLE alerts; --"
    condition = compile_filter(
        parse_filter(f"title eq '{evil}' or contains(title, '{evil}')"), sets.ALERTS, "sqlite"
    )
    compiled = condition.compile()
    assert "DROP" not in str(compiled)
    assert evil.replace("''", "'") in compiled.params.values()
