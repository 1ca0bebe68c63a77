"""reduce: texts grouped by the words that many of them have at the same place.

Words of figures are never told apart, as they number things.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shieldwall.kql.errors import KqlError
from shieldwall.kql.expressions import Binder
from shieldwall.kql.frame import Frame
from shieldwall.kql.local import local, whole
from shieldwall.kql.operators.aggregation import grouped
from shieldwall.kql.operators.columns import extended
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.relation import Column, Relation, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Call, Expr, Named, Operator

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

THRESHOLD = 0.1
OTHERS = "others"
_TEXT, _COUNT = "$text", "$count"


@dataclass(slots=True)
class Group:
    pattern: str
    count: int
    representative: str


@operator("reduce")
def reduce(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    kind = node.parts.get("kind", "")
    if kind not in ("", "source"):
        raise KqlError(f"'{kind}' is not a kind of reduce.", node.at)
    threshold = _constant(compiler, node.parts["threshold"], env)
    if threshold is None:
        threshold = THRESHOLD
    if isinstance(threshold, str) or not 0 < threshold < 1:
        raise KqlError("The threshold of reduce lies between 0 and 1.", node.at)
    characters = _constant(compiler, node.parts["characters"], env) or ""
    text: Expr = Named(node.at, [_TEXT], Call(node.at, "tostring", [node.parts["of"]]))
    if kind == "source":
        return _with_patterns(compiler, extended(compiler, relation, [text], env), threshold, str(characters))
    count: Expr = Named(node.at, [_COUNT], Call(node.at, "count", []))
    values = grouped(compiler, relation, [count], [text], env)

    def work(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        places = frames[0].places()
        pairs = [(row[places[_TEXT]], row[places[_COUNT]]) for row in frames[0].rows]
        groups = sorted(
            {id(group): group for group in patterns(pairs, threshold, str(characters)).values()}.values(),
            key=lambda group: (group.pattern == OTHERS, -group.count, group.pattern),
        )
        shown = {
            "Pattern": lambda group: group.pattern,
            "Count": lambda group: group.count,
            "Representative": lambda group: group.representative,
        }
        return [[shown[name](group) for name in wanted] for group in groups]

    columns = [("Pattern", "string"), ("Count", "long"), ("Representative", "string")]
    return whole(compiler, [values], columns, work)


def _constant(compiler: Compiler, node: Expr | None, env: Environment) -> Any:
    return Binder(compiler, env).constant(node) if node is not None else None


def _with_patterns(compiler: Compiler, relation: Relation, threshold: float, characters: str) -> Relation:
    """The rows as they are, with the pattern that each belongs to."""
    below = over(relation)
    text = next(column for column in below.columns if column.name == _TEXT)
    columns = [
        Column(column.name, column.type, deps=frozenset((column, text)))
        for column in below.columns
        if column is not text
    ]
    columns.append(Column("Pattern", "string", deps=frozenset((text,))))

    def work(frames: Sequence[Frame], wanted: Sequence[str]) -> list[list[Any]]:
        places = frames[0].places()
        at = places[_TEXT]
        groups = patterns(Counter(row[at] for row in frames[0].rows).items(), threshold, characters)
        return [
            [groups[row[at]].pattern if name == "Pattern" else row[places[name]] for name in wanted]
            for row in frames[0].rows
        ]

    return local(compiler, [below], columns, work)


def patterns(texts: Iterable[tuple[str, int]], threshold: float, characters: str) -> dict[str, Group]:
    """The group of each text, of texts with how often they are there.

    A word counts for its place when more than ``threshold`` of all have it there. Texts with the same such
    words are a group, if these are as many; what is in no group is in one of its own.
    """
    counted = sorted(texts)
    separator = re.compile(f"([^a-zA-Z0-9]|[{re.escape(characters)}])" if characters else "([^a-zA-Z0-9])")
    least = threshold * sum(count for _, count in counted)
    split = {text: separator.split(text) for text, _ in counted}
    words: Counter[tuple[int, str]] = Counter()
    for text, count in counted:
        for word in _words(split[text]):
            words[word] += count
    frequent = {word for word, count in words.items() if count > max(least, 1) and not word[1].isdigit()}
    keys: dict[str, tuple[tuple[int, str], ...]] = {}
    sizes: Counter[tuple[tuple[int, str], ...]] = Counter()
    for text, count in counted:
        key = tuple(word for word in _words(split[text]) if word in frequent)
        keys[text] = key
        sizes[key] += count
    groups: dict[Any, Group] = {}
    others = Group(OTHERS, 0, "")
    found: dict[str, Group] = {}
    for text, count in counted:
        key = keys[text]
        if not key or sizes[key] < least:
            group = others
        elif (group := groups.get(key, others)) is others:
            group = groups[key] = Group(_pattern(split[text], frequent, characters), 0, text)
        group.count += count
        found[text] = group
    return found


def _words(parts: list[str]) -> Iterable[tuple[int, str]]:
    """The words of a text that was split, with their places."""
    place = 0
    for part in parts[::2]:
        if part:
            yield place, part
            place += 1


def _pattern(parts: list[str], frequent: set[tuple[int, str]], characters: str) -> str:
    """The text with a star for its other words; separators of the query's own beside a star go with it."""
    shown: list[str] = []
    place = 0
    for number, part in enumerate(parts):
        if number % 2:
            shown.append(part)
        elif part:
            shown.append(part if (place, part) in frequent else "*")
            place += 1
    for number, part in enumerate(shown):
        beside = shown[max(number - 1, 0) : number + 2]
        if part and part in characters and "*" in beside:
            shown[number] = ""
    return re.sub(r"\*[\s*]*\*", "*", "".join(shown))
