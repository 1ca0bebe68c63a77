"""What reading told: what was read, what was passed over, and what was damaged."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """Records of one source as JSON lines, and how many."""

    source: str
    payload: bytes
    records: int


@dataclass(frozen=True)
class Problem:
    """Something that could not be read, in which file, and why."""

    file: str
    text: str


@dataclass
class Account:
    """Grows while files are read. ``skipped`` are files of no format that is known."""

    paths: int = 0
    """Of those given: how many are done."""
    files: int = 0
    records: int = 0
    damaged: int = 0
    """Records of which the files have something, but that cannot be read."""
    problems: list[Problem] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def problem(self, file: str, text: str) -> None:
        self.problems.append(Problem(file, text))
