"""The layout of queries: what it makes of them, and that it changes no meaning."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.kql.errors import KqlError
from shieldwall.kql.layout import laid_out
from shieldwall.kql.lexer import tokenize
from shieldwall.kql.parser import parse

QUERIES = {
    "a line for each operator": (
        "DeviceEvents|where ActionType=='x'and 1<2|project   a,b=c*2",
        "DeviceEvents\n| where ActionType == 'x' and 1 < 2\n| project a, b = c*2\n",
    ),
    "subqueries are indented": (
        "A | join kind=inner (B | where x in ((C | project y))) on k",
        "A\n| join kind = inner (\n    B\n    | where x in (\n        (\n            C\n"
        "            | project y\n        )\n    )\n) on k\n",
    ),
    "comments stay": (
        "// first\nlet a = 1; // one\n\n// then\nT // all\n| take a",
        "// first\nlet a = 1;  // one\n\n// then\nT  // all\n| take a\n",
    ),
    "what needs no blank gets none": (
        "T | project-away a*, ['b c'] | extend d = -1, e = f.g[0], h = ago(1h)",
        "T\n| project-away a*, ['b c']\n| extend d = -1, e = f.g[0], h = ago(1h)\n",
    ),
    "functions": (
        "let f=(x:long, y:string='a'){ T | where z == x }; f(1)",
        "let f = (x:long, y:string = 'a') {\n    T\n    | where z == x\n};\nf(1)\n",
    ),
}


def tree(text: str) -> str:
    return re.sub(r"at=\d+", "", repr(parse(text)))


@pytest.mark.parametrize("name", QUERIES)
def test_layout(name: str) -> None:
    text, expected = QUERIES[name]
    assert laid_out(text) == expected
    assert laid_out(expected) == expected
    assert tree(text) == tree(expected)


WORDS = st.sampled_from(
    ["T", "|", "where", "project", "extend", "by", "count()", "a", "b", "(", ")", "[", "]", ",", ";", "==",
     "=", "-", "-1", "*", "1", "'x'", '"y z"', "// c\n", "let", "f", "{", "}", ":", "..", ".", "and", "in",
     "(1,2)", "project-away", "join", "on", "kind=inner", "1h", "ago(1d)", "@'q'", "$left.a", "0.5", "=>"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=40).map(" ".join))
def test_the_layout_keeps_tokens_and_is_stable(text: str) -> None:
    try:
        before = [token.text for token in tokenize(text)]
    except KqlError:
        return
    found = laid_out(text)
    assert [token.text for token in tokenize(found)] == before
    assert laid_out(found) == found
