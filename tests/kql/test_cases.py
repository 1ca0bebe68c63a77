"""Cases kept as data: what expressions and queries give.

``scalars/*.yaml`` map an expression to its value as JSON (null, numbers, texts, arrays, bags), or to
``{type: T, value: V}`` where the type is worth a check, or to ``{error: part of the message}``.

``queries/*.yaml`` hold lists of ``{query, columns, rows}``: columns as ``name`` or ``name:type``; rows in any
order unless ``ordered: true``. Instead, ``error`` may hold a part of the message.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shieldwall.kql.errors import KqlError
from tests.kql.conftest import Run

HERE = Path(__file__).parent


def _scalars() -> Iterator[Any]:
    for path in sorted(HERE.glob("scalars/*.yaml")):
        for expression, expected in yaml.safe_load(path.read_text()).items():
            yield pytest.param(expression, expected, id=f"{path.stem}: {expression[:60]}")


def _queries() -> Iterator[Any]:
    for path in sorted(HERE.glob("queries/*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            yield pytest.param(case, id=f"{path.stem}: {case['query'][:60]}")


def same(expected: Any, found: Any) -> bool:
    """Equality of JSON values; reals to nine digits."""
    if isinstance(expected, float) and isinstance(found, int | float) and not isinstance(found, bool):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[key], found[key]) for key in expected)
    return type(expected) is type(found) and bool(expected == found)


@pytest.mark.parametrize(("expression", "expected"), list(_scalars()))
def test_scalar(kql: Run, expression: str, expected: Any) -> None:
    query = f"print result = {expression}"
    if isinstance(expected, dict) and expected.keys() == {"error"}:
        with pytest.raises(KqlError) as caught:
            kql(query)
        assert expected["error"] in caught.value.message
        return
    answer = kql(query)
    if isinstance(expected, dict) and expected.keys() == {"type", "value"}:
        assert answer.columns == [("result", expected["type"])]
        expected = expected["value"]
    assert same(expected, answer.value), answer.value


@pytest.mark.parametrize("case", list(_queries()))
def test_query(kql: Run, case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(KqlError) as caught:
            kql(case["query"])
        assert case["error"] in caught.value.message
        return
    answer = kql(case["query"])
    wanted = [column.partition(":") for column in case["columns"]]
    assert answer.names == [name for name, _, _ in wanted]
    for (name, kind), (_, _, expected) in zip(answer.columns, wanted, strict=True):
        assert not expected or kind == expected, name
    left = list(answer.rows)
    for place, row in enumerate(case["rows"]):
        if case.get("ordered"):
            assert same(row, answer.rows[place]), answer.rows
        found = next((other for other in left if same(row, other)), None)
        assert found is not None, f"{row} is not in {answer.rows}"
        left.remove(found)
    assert not left
