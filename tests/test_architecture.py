"""Imports go one way, and the agent imports nothing of the server."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "src" / "shieldwall"
AGENT = ROOT / "agent" / "src" / "shieldwall_agent"

SMALL = {"settings", "errors", "times", "log", "metrics", "wakeups", "data_files"}
BELOW: dict[str, set[str]] = {
    "kql": set(),
    "client": set(),
    "state": SMALL,
    "telemetry": SMALL | {"state", "kql"},
    "identity": SMALL | {"state", "telemetry"},
    "devices": SMALL | {"state", "telemetry", "identity"},
    "alerts": SMALL | {"state", "telemetry", "identity", "devices"},
    "sources": SMALL | {"state", "telemetry", "identity", "devices"},
    "detection": SMALL | {"state", "kql", "telemetry", "identity", "devices", "alerts", "sources"},
    "response": SMALL | {"state", "telemetry", "identity", "devices", "alerts"},
    "investigations": SMALL
    | {"state", "telemetry", "identity", "devices", "alerts", "sources", "detection", "response"},
    "exposure": SMALL | {"state", "telemetry", "identity", "devices"},
}
"""What each part may import besides itself; parts not named here stand on top."""
TOP = {"api", "gateway", "cli", "services", "server"}


def imported(file: Path, package: str) -> Iterator[str]:
    """The parts of ``package`` that a file imports, those imported only for types included."""
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = (
                [f"{package}.{alias.name}" for alias in node.names]
                if node.module == package
                else [node.module]
            )
        for name in names:
            if name.startswith(f"{package}."):
                yield name.split(".")[1]


@pytest.mark.parametrize("part", sorted(BELOW))
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    for file in (SERVER / part).rglob("*.py"):
        wrong = set(imported(file, "shieldwall")) - BELOW[part] - {part}
        assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("module", sorted(SMALL))
def test_the_small_modules_import_nothing(module: str) -> None:
    assert not set(imported(SERVER / f"{module}.py", "shieldwall")) - SMALL


def test_every_part_has_its_place() -> None:
    parts = {path.stem for path in SERVER.iterdir() if not path.name.startswith(("_", "."))}
    assert parts - {"py"} <= SMALL | set(BELOW) | TOP


def test_the_agent_imports_nothing_of_the_server() -> None:
    for file in AGENT.rglob("*.py"):
        assert not set(imported(file, "shieldwall")), file
        assert "import shieldwall\n" not in file.read_text(), file
