"""Documents say what is so: settings, files and commands that they name exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from shieldwall.cli.main import app
from shieldwall.settings import Settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
)


def documented_settings() -> dict[str, str]:
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]
    return dict(re.findall(r"^\| `(SHIELDWALL_\w+)` \| (.*?) \|$", table, re.M))


def test_every_setting_is_documented_with_its_default() -> None:
    defaults = {f"SHIELDWALL_{field.name.upper()}": str(field.default) for field in fields(Settings)}
    assert documented_settings() == {name: value and f"`{value}`" for name, value in defaults.items()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([\w-]+)`", document.read_text())) <= targets


def commands() -> list[tuple[str, Any]]:
    """Every command of `shieldwall` with the words that call it."""
    found = []

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if hasattr(command, "list_commands"):
            for name in command.list_commands(None):
                walk(command.get_command(None, name), (*words, name))
        else:
            found.append((" ".join(words), command))

    walk(typer.main.get_command(app), ("shieldwall",))
    return found


@pytest.mark.parametrize(("words", "command"), commands(), ids=[words for words, _ in commands()])
def test_every_command_explains_itself_with_an_example(words: str, command: Any) -> None:
    assert re.search(rf"Example: .*{re.escape(words)}", command.help), f"{words} --help has no example"
