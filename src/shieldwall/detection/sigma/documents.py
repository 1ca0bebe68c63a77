"""From a file's bytes to the YAML documents in it, within bounds, with the line of each part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from shieldwall.data_files import LOADER

MOST_BYTES = 1 << 20
"""Of one file. The largest public rule, a list of drivers by hash, has a fifth of it."""
MOST_NODES = 50_000
"""Of one document, each alias counted as all that it stands for."""
MOST_DEPTH = 30
MOST_DOCUMENTS = 500


class UnreadableError(ValueError):
    """A file that is no YAML within the bounds. ``line`` counts from 1; 0 where no line is to blame."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True)
class Document:
    """One YAML document: its mapping, and the lines of its keys by their path, such as ``detection.sel``."""

    data: dict[str, Any]
    node: yaml.MappingNode

    def line(self, path: str) -> int:
        """The line of the longest part of a path that is there; that of the document where none is."""
        node: yaml.Node = self.node
        line = node.start_mark.line + 1
        rest = path
        while rest and isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = str(key.value)
                if rest == name or rest.startswith(f"{name}."):
                    node, line, rest = value, key.start_mark.line + 1, rest[len(name) + 1 :]
                    break
            else:
                break
        return line


def documents(content: bytes) -> list[Document]:
    """The documents of a file, empty ones left out. UnreadableError names the line."""
    if len(content) > MOST_BYTES:
        raise UnreadableError(f"the file is larger than {MOST_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableError("the text is not UTF-8", line) from None
    try:
        return list(_documents(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(f"YAML: {error.problem}", mark.line + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise UnreadableError(f"YAML: {error}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError(f"YAML: {str(error)[:200] or 'nested too deeply'}") from None


def _check_depth(text: str) -> None:
    """The C library composes nodes by recursion, which text that is nested deeply enough would crash."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                line = _line(event)
                raise UnreadableError(f"the document is nested deeper than {MOST_DEPTH}", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _documents(text: str) -> Iterator[Document]:
    _check_depth(text)
    loader = LOADER(text)
    try:
        count = 0
        while loader.check_node():
            node = loader.get_node()
            count += 1
            if count > MOST_DOCUMENTS:
                raise UnreadableError(f"the file has more than {MOST_DOCUMENTS} documents", _line(node))
            if isinstance(node, yaml.ScalarNode) and not node.value:
                continue
            if not isinstance(node, yaml.MappingNode):
                raise UnreadableError("a rule must be a mapping", _line(node))
            _Bounds().check(node)
            yield Document(_constructed(loader, node), node)
    finally:
        loader.dispose()


def _constructed(loader: Any, node: yaml.MappingNode) -> dict[str, Any]:
    try:
        return dict(loader.construct_document(node))
    except ValueError as error:
        line = _line(node)
        for key, value in node.value:
            # A scalar that looks like a date or a number, and is none.
            try:
                loader.construct_document(value)
            except ValueError:
                line = _line(key)
        raise UnreadableError(f"YAML: {str(error)[:200]}", line) from None


class _Bounds:
    """Counts what a document is with all aliases written out, looking at each node once."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, node: yaml.Node) -> int:
        """How many nodes it is. UnreadableError where too many, in a circle, or with a key twice."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        name = id(node)
        if name in self._open:
            raise UnreadableError("an alias stands for what contains it", _line(node))
        if name in self._sizes:
            return self._sizes[name]
        self._open.add(name)
        size = 1
        for child in self._children(node):
            size += self.check(child)
            if size > MOST_NODES:
                raise UnreadableError(f"the document has more than {MOST_NODES} parts", _line(node))
        self._open.discard(name)
        self._sizes[name] = size
        return size

    def _children(self, node: yaml.Node) -> Iterator[yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            yield from node.value
            return
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UnreadableError("a key must be plain text", _line(key))
            if key.tag.endswith(":merge"):
                raise UnreadableError("merge keys (<<) are not supported", _line(key))
            # Whatever it looks like: a name such as `no` or `1`.
            key.tag = "tag:yaml.org,2002:str"
            if key.value in seen:
                raise UnreadableError(f"the key {key.value[:100]!r} is there twice", _line(key))
            seen.add(key.value)
            yield value


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
