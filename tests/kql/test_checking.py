"""All mistakes of a query at once."""

from __future__ import annotations

import pytest

from shieldwall.kql.checking import mistakes
from shieldwall.telemetry.hunting import hunting_schema

CASES = {
    "none": ("DeviceInfo | count", []),
    "one": ("DeviceInfo | where Nonsense == 1", [(1, 20)]),
    "one in each statement": (
        "let a = DeviceInfo | wheer x;\nlet b = 1;\nlet c = nofunction(b);\n"
        "DeviceEvents | where Nonsense == b",
        [(1, 22), (4, 22)],
    ),
    "what follows from a mistake is not told": (
        "let a = DeviceInfo | wheer x;\na | count",
        [(1, 22)],
    ),
    "a text that is not closed": ("print 'x", [(1, 7)]),
    "nothing at all": ("", [(1, 1)]),
}


@pytest.mark.parametrize("name", CASES)
def test_mistakes(name: str) -> None:
    text, places = CASES[name]
    assert [(error.line, error.column) for error in mistakes(text, hunting_schema())] == places
