"""Which operations of the contract are served, and which tests call them: `docs/api-coverage.md`."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fastapi.routing import APIRoute

from shieldwall.api.app import MODULES
from shieldwall.api.contract import Operation, load, shape
from shieldwall.api.oauth_grants import GRANTS

CONTRACT_TEST = "tests/api/test_contract.py"

_HEAD = """# API coverage

Written by `python -m shieldwall.api.contract` from `src/shieldwall/api/contract/`; not to be edited by hand.
{served} of {all} operations are served. [test_contract.py](../{contract}) proves each served one against the
contract: permissions, verbs, query options, errors, and every property with its type. The last column names
the file of tests of its own that calls it most.
"""
_COLUMNS = "| operation | application permission | served | tests of its own |"
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT"})


def routes() -> frozenset[tuple[str, str]]:
    """Method and shape of the path of everything that the application serves."""
    found = {
        (method, shape(route.path))
        for module in MODULES
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    return frozenset(found | {("GET", path) for path in ("/api", "/api/$metadata", "/v1.0/$metadata")})


def is_served(operation: Operation, served: frozenset[tuple[str, str]]) -> bool:
    known = (operation.method, shape(operation.path)) in served
    return known and (not operation.grant or operation.grant in GRANTS)


def render(tests: Path) -> str:
    """The document. ``tests`` is the folder of the tests."""
    contract = load()
    served = routes()
    calls = _calls_of_tests(tests)
    known = sum(is_served(each, served) for each in contract.operations)
    lines = [_HEAD.format(served=known, all=len(contract.operations), contract=CONTRACT_TEST)]
    for area in dict.fromkeys(each.area for each in contract.operations):
        lines += [f"## {area.replace('_', ' ').capitalize()}", "", _COLUMNS, "|---|---|---|---|"]
        for each in (each for each in contract.operations if each.area == area):
            answers = is_served(each, served)
            by = calls.get((each.method, shape(each.path))) if answers else None
            lines.append(
                f"| `{each.name}` | {', '.join(each.application)} | {'yes' if answers else 'no'} |"
                f" {min(by, key=lambda name: (-by[name], name)) if by else ''} |"
            )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _calls_of_tests(folder: Path) -> dict[tuple[str, str], Counter[str]]:
    """How often each file of tests calls an operation, by its method and shape."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        if str(file.relative_to(folder.parent)) == CONTRACT_TEST:
            continue
        tree = ast.parse(file.read_text())
        constants = {
            target.id: text
            for node in tree.body
            if isinstance(node, ast.Assign) and (text := _text(node.value, {})) is not None
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for method, path in _calls(tree, constants):
            found.setdefault((method, path), Counter())[file.relative_to(folder.parent).as_posix()] += 1
    return found


def _calls(tree: ast.Module, constants: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A path with the method that comes before it among the arguments, or that the called function names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts: list[ast.expr] = node.args
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        elif isinstance(node, ast.Tuple):
            parts, name = node.elts, ""
        else:
            continue
        texts = [text for part in parts if (text := _text(part, constants)) is not None]
        method = next((text for text in texts if text in _METHODS), name.upper())
        for text in texts:
            path = re.match(r"(?:\{\}|https?://[^/]+)?(/(?:api|v1\.0)[^?]*)", text)
            if method in _METHODS and path:
                yield method, _without_values(path[1])


def _text(node: ast.expr, constants: dict[str, str]) -> str | None:
    """A string with ``{}`` for what is filled in; None where it is no string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, constants) or "{}" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants) or "{}"
    return None


def _without_values(path: str) -> str:
    """The shape of a path that has values where the contract has parameters."""
    plain = path.rstrip("/ ").lower()
    known = {shape(each.path) for each in load().operations}
    if plain in known:
        return plain
    matching = (each for each in known if re.fullmatch(re.escape(each).replace(r"\{\}", "[^/]+"), plain))
    return min(matching, default=plain)
