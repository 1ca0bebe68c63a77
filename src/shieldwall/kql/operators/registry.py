"""Where operators put themselves, by the names that the parser gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shieldwall.kql.relation import Relation
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Operator

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

Work = Callable[["Compiler", Relation, Operator, Environment], Relation]
Start = Callable[["Compiler", Operator, Environment], Relation]

OPERATORS: dict[str, Work] = {}
"""Those that stand behind a bar."""
SOURCES: dict[str, Start] = {}
"""Those that a tabular expression may begin with."""


def operator(*names: str) -> Callable[[Work], Work]:
    def take(work: Work) -> Work:
        for name in names:
            OPERATORS[name] = work
        return work

    return take


def source(*names: str) -> Callable[[Start], Start]:
    def take(work: Start) -> Start:
        for name in names:
            SOURCES[name] = work
        return work

    return take
