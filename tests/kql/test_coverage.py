"""The document of what is there, and that each function can be reached by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from shieldwall.kql.compiler import Compiler
from shieldwall.kql.coverage import document
from shieldwall.kql.errors import KqlError
from shieldwall.kql.functions.registry import AGGREGATES, CODED, CODED_AGGREGATES, COLLECTED, LOCALS, SCALARS

DOCUMENT = Path(__file__).parents[2] / "docs" / "kql-coverage.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), (
        "run `python -m shieldwall.kql.coverage docs/kql-coverage.md`"
    )


@pytest.mark.parametrize(
    "name", sorted({*SCALARS, *CODED, *LOCALS, *AGGREGATES, *CODED_AGGREGATES, *COLLECTED})
)
def test_no_function_breaks_on_arguments_that_do_not_fit(name: str) -> None:
    for arguments in ("", "1", "'x', 2", "dynamic([1]), 'x', 3, 4.5", "*", "typeof(long)"):
        for query in (f"print x = {name}({arguments})", f"print a = 1 | summarize x = {name}({arguments})"):
            try:
                Compiler().compile(query)
            except KqlError as error:
                assert error.line == 1
