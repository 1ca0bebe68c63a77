"""parse-kv: columns of pairs of keys and values in text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shieldwall.kql import sql
from shieldwall.kql.errors import KqlError
from shieldwall.kql.operators.parsing import put_column, typed_text
from shieldwall.kql.operators.registry import operator
from shieldwall.kql.patterns import compiled, escaped
from shieldwall.kql.relation import Column, Relation, over
from shieldwall.kql.scope import Environment
from shieldwall.kql.syntax import Operator
from shieldwall.kql.values import Value, to_string

if TYPE_CHECKING:
    from shieldwall.kql.compiler import Compiler

PAIRS = "$pairs"
"""The hidden column that holds the pairs, as arrays of a key and of what its value may be."""
_OPTIONS = ("pair_delimiter", "kv_delimiter", "quote", "escape", "greedy", "regex")
_PAIR_MARK, _KEY_MARK = "\x01", "\x02"
"""What stands for delimiters of several characters while pairs are looked for."""


@operator("parse-kv")
def parse_kv(compiler: Compiler, relation: Relation, node: Operator, env: Environment) -> Relation:
    from shieldwall.kql.compiler import type_named

    options = _read_options(node)
    below, subject = compiler.bind_into(
        relation, env, lambda binder: to_string(binder.bind(node.parts["of"])), inline=True
    )
    if "regex" in options:
        reader: _Reader = _ByRegex(options["regex"], node.at)
    elif "pair_delimiter" in options or "kv_delimiter" in options:
        reader = _Delimited(options)
    else:
        reader = _ByWords(options, [name for name, _ in node.parts["columns"]])
    pairs = Column(PAIRS, "dynamic", reader.pairs(subject.sql), subject.deps)
    below.hidden.append(pairs)
    select = over(below)
    for name, kind in node.parts["columns"]:
        kind = type_named(kind, node.at)
        pair = f"arrayFirst(p -> p[1] = {sql.quote(name)}, {sql.ref(PAIRS)})"
        text = f"trimBoth({reader.value(pair)}, ' \\t\\r\\n')"
        value = typed_text(Value("string", text, frozenset((pairs,))), kind)
        put_column(select, Column(name, kind, value.sql, value.deps))
    return select


def _read_options(node: Operator) -> dict[str, Any]:
    """The options: texts, ``greedy`` a bool, ``quote`` and ``escape`` lists of texts."""
    found: dict[str, Any] = {}
    for name, values in node.parts["options"].items():
        if name not in _OPTIONS:
            raise KqlError(f"'{name}' is not an option of parse-kv.", node.at)
        if name == "greedy":
            found[name] = values[-1] in (True, "true")
        elif not all(isinstance(value, str) and value for value in values):
            raise KqlError(f"The option '{name}' of parse-kv must be a string.", node.at)
        else:
            found[name] = values if name in ("quote", "escape") else values[-1]
    if any(len(quote) > 2 for quote in found.get("quote", ())):
        raise KqlError("The quotes of parse-kv are one or two characters.", node.at)
    if any(len(escape) > 1 for escape in found.get("escape", ())):
        raise KqlError("The escape of parse-kv is one character.", node.at)
    return found


class _Reader:
    """How pairs are found: each an array of its key and of one text for each form that its value may have."""

    def pairs(self, text: str) -> str:
        """SQL of the pairs in SQL of text."""
        raise NotImplementedError

    def value(self, pair: str) -> str:
        """SQL of the value of SQL of a pair, which is empty if there is none."""
        return f"{pair}[2]"


class _ByRegex(_Reader):
    def __init__(self, text: str, at: int) -> None:
        found = compiled(text, at)
        if found.groups != 2:
            raise KqlError("The regular expression of parse-kv needs two groups.", at)
        self.regex = found.text

    def pairs(self, text: str) -> str:
        return f"extractAllGroupsVertical({text}, {sql.quote(self.regex)})"


class _Quoting(_Reader):
    """Values that may be quoted; the last group of a pair is the one that is not."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.quotes: Sequence[str] = options.get("quote", ())
        self.escapes: Sequence[str] = options.get("escape", ())

    def quoted(self) -> list[str]:
        """A group for each kind of quotes, with the quotes around it."""
        return [
            f"{escaped(quote[0])}({self._inside(quote[-1])}*){escaped(quote[-1])}" for quote in self.quotes
        ]

    def _inside(self, end: str) -> str:
        plain = f"[^{_members([end, *self.escapes])}]"
        return f"(?:{'|'.join([plain, *(f'{escaped(escape)}.' for escape in self.escapes)])})"

    def value(self, pair: str) -> str:
        return sql.once(pair, self._value)

    def _value(self, pair: str) -> str:
        count = len(self.quotes)
        inner = "".join(f"{pair}[{place}], " for place in range(2, 2 + count))
        quoted = f"concat({inner}'')"
        if self.escapes:
            pattern = sql.quote(f"(?s)[{_members(self.escapes)}](.)")
            quoted = rf"replaceRegexpAll({quoted}, {pattern}, '\\1')"
        return f"if({quoted} != '', {quoted}, {pair}[{2 + count}])" if count else f"{pair}[2]"


def _members(characters: Sequence[str]) -> str:
    """Characters as members of a class of a regular expression."""
    return "".join(f"\\x{{{ord(character):x}}}" for character in characters)


class _Delimited(_Quoting):
    """Pairs and their values parted by given delimiters."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.delimiters = [options.get("pair_delimiter", " "), options.get("kv_delimiter", "=")]
        marks = (_PAIR_MARK, _KEY_MARK)
        self.marks = [
            text if len(text) == 1 else mark for text, mark in zip(self.delimiters, marks, strict=True)
        ]
        self.greedy = bool(options.get("greedy"))

    def pairs(self, text: str) -> str:
        for delimiter, mark in zip(self.delimiters, self.marks, strict=True):
            if delimiter != mark:
                text = f"replaceAll({text}, {sql.quote(delimiter)}, {sql.quote(mark)})"
        return self._greedy_pairs(text) if self.greedy else self._pairs(text)

    def _pairs(self, text: str) -> str:
        pair, key = (_members([mark]) for mark in self.marks)
        blank = "".join(f"\\x{{{ord(char):x}}}" for char in " \t\r\n" if char not in self.marks)
        name = "|".join([*self.quoted(), f"([^{pair}{key}]*)"])
        value = "|".join([*self.quoted(), f"([^{pair}]*)"])
        regex = f"(?s)[{blank}]*(?:{name})[{blank}]*[{key}][{blank}]*(?:{value})"
        found = f"extractAllGroupsVertical({text}, {sql.quote(regex)})"
        count = len(self.quotes) + 1
        names = ", ".join(f"p[{place}]" for place in range(1, count + 1))
        name = f"trimBoth(concat({names}, ''), ' \\t\\r\\n')"
        return f"arrayMap(p -> arrayPushFront(arraySlice(p, {count + 1}), {name}), {found})"

    def _greedy_pairs(self, text: str) -> str:
        """Keys are words in front of a delimiter; a value goes on to the next one."""
        pair, key = (_members([mark]) for mark in self.marks)
        before, after = rf"(?s)(?:^|[{pair}])\s*", rf"\s*[{key}]"
        word = rf"[^{pair}{key}\s]+"
        names, marks = sql.quote(f"{before}({word}){after}"), sql.quote(f"{before}{word}{after}")
        values = f"arraySlice(splitByRegexp({marks}, {text}), 2)"
        quoted = [sql.quote(rf"(?s)^\s*{form}\s*$") for form in self.quoted()]
        forms = "".join(f"extract(v, {form}), " for form in quoted)
        return f"arrayMap((k, v) -> [k, {forms}v], extractAll({text}, {names}), {values})"

    def value(self, pair: str) -> str:
        found = super().value(pair)
        for delimiter, mark in zip(self.delimiters, self.marks, strict=True):
            if delimiter != mark:
                found = f"replaceAll({found}, {sql.quote(mark)}, {sql.quote(delimiter)})"
        return found


class _ByWords(_Quoting):
    """Known keys, parted from their values by anything but letters and digits."""

    def __init__(self, options: dict[str, Any], keys: list[str]) -> None:
        super().__init__(options)
        self.keys = keys

    def pairs(self, text: str) -> str:
        marks = sorted({char for quote in self.quotes for char in quote})
        ends = "".join(f"[{_members(marks)}]?" if marks else "")
        between = f"[^a-zA-Z0-9{_members(marks)}]+"
        names = "|".join(escaped(key) for key in sorted(self.keys, key=len, reverse=True))
        value = "|".join([*self.quoted(), "([a-zA-Z0-9]+)"])
        regex = f"(?s)(?:^|[^a-zA-Z0-9])({names}){ends}{between}(?:{value})"
        return f"extractAllGroupsVertical({text}, {sql.quote(regex)})"
