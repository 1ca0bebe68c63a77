"""The texts that a regular expression cannot match without."""

from __future__ import annotations

import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as sre  # type: ignore[import-not-found]
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from shieldwall.detection.streaming.needs import NOTHING, Need, all_of, any_of
from shieldwall.kql.patterns import PatternError, translated

_OTHER_MEANING = re.compile(r"\[[^\]]*\[:|\{,|\(\?[a-zA-Z]*x|\\[QECzpP]")
"""What RE2 reads otherwise than Python."""
MOST_BRANCHES = 64


def required(text: str, need_of: Callable[[str], Need]) -> Need:
    """The need of a match of ``text``, Kusto's syntax; ``need_of`` gives that of a plain text in it."""
    try:
        found = translated(text).text
    except PatternError:
        return NOTHING
    parsed = _parsed(found.removeprefix("(?-s)"))
    return NOTHING if parsed is None else _sequence(list(parsed), need_of)


@lru_cache(1024)
def _parsed(text: str) -> Any:
    if _OTHER_MEANING.search(text):
        return None
    try:
        return sre.parse(text)
    except (re.error, OverflowError, RecursionError):
        return None


def _sequence(items: list[Any], need_of: Callable[[str], Need]) -> Need:
    """Neighbouring characters make one text; what stands between may be anything."""
    needs: list[Need] = []
    run: list[str] = []

    def end() -> None:
        if run:
            needs.append(need_of("".join(run)))
            run.clear()

    for op, value in _flat(items):
        if op is codes.LITERAL:
            run.append(chr(value))
        elif op is codes.IN and (char := _one_letter(value)):
            run.append(char)
        elif op is codes.AT:
            continue
        else:
            end()
            if op is codes.BRANCH and len(value[1]) <= MOST_BRANCHES:
                needs.append(any_of(_sequence(list(branch), need_of) for branch in value[1]))
            elif op in (codes.MAX_REPEAT, codes.MIN_REPEAT) and value[0] > 0:
                needs.append(_sequence(list(value[2]), need_of))
    end()
    return all_of(needs)


def _flat(items: list[Any]) -> list[tuple[Any, Any]]:
    """The items with what stands in groups in their place."""
    found: list[tuple[Any, Any]] = []
    for op, value in items:
        if op is codes.SUBPATTERN:
            found += _flat(list(value[3]))
        else:
            found.append((op, value))
    return found


def _one_letter(members: list[Any]) -> str:
    """The letter that a class such as ``[Cc]`` stands for, whatever its case."""
    chars = {chr(value).lower() for op, value in members if op is codes.LITERAL}
    plain = all(op is codes.LITERAL for op, _ in members)
    char = chars.pop() if plain and len(chars) == 1 else ""
    return char if char.isascii() else ""
