"""Conditions of KQL as they are put together and written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 100
"""Characters of a line of a query, unless a single condition is longer."""


@dataclass(frozen=True)
class Clause:
    """A condition: ``text``, or ``parts`` joined by an ``operator``, of which ``not`` has one part."""

    text: str = ""
    operator: str = ""
    parts: tuple[Clause, ...] = ()
    nullable: bool = False
    """Whether it may be null, which counts as false, but whose opposite must be true."""

    def written(self, indent: str = "", *, inside: bool = False) -> str:
        """The condition; in parentheses where it joins several and stands ``inside`` of another.

        One that is too long for a line has each part on a line of its own, with ``indent`` before it.
        """
        if not self.operator:
            return self.text
        if self.operator == "not":
            return self._opposite(indent)
        line = f" {self.operator} ".join(part.written(inside=True) for part in self.parts)
        if len(line) > WIDTH - len(indent):
            deeper = indent + ("    " if inside else "")
            between = f"\n{deeper}{self.operator} "
            line = between.join(part.written(deeper, inside=True) for part in self.parts)
        return f"({line})" if inside else line

    def _opposite(self, indent: str) -> str:
        (part,) = self.parts
        inner = part.written(indent + "    ")
        return f"not(coalesce({inner}, false))" if part.nullable else f"not({inner})"


ALWAYS = Clause("true")
NEVER = Clause("false")


def joined(operator: str, clauses: Sequence[Clause]) -> Clause:
    """``and`` or ``or`` of clauses, without nesting, repetition, and what is so anyway."""
    empty, final = (ALWAYS, NEVER) if operator == "and" else (NEVER, ALWAYS)
    if final in clauses:
        return final
    parts: dict[Clause, None] = {}
    for clause in clauses:
        if clause == empty:
            continue
        parts.update(dict.fromkeys(clause.parts if clause.operator == operator else (clause,)))
    if len(parts) < 2:
        return next(iter(parts), empty)
    return Clause(operator=operator, parts=tuple(parts), nullable=any(part.nullable for part in parts))


def negated(clause: Clause) -> Clause:
    """The opposite; of what is null, true."""
    if clause in (ALWAYS, NEVER):
        return NEVER if clause == ALWAYS else ALWAYS
    return Clause(operator="not", parts=(clause,))
