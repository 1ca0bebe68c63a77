"""Rules that come with the product: they apply in every tenant, without a row of any."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from shieldwall.detection.rules.files import SUFFIXES, read_rules
from shieldwall.detection.rules.rule import Rule

FOLDER = Path(__file__).parent.parent / "content"


@cache
def builtin_rules() -> Mapping[str, Rule]:
    """By id. The tests have checked and tried them; a start of the server does not do so again."""
    found: dict[str, Rule] = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in SUFFIXES:
            rules, problems = read_rules(path.read_bytes(), path.name, "BuiltIn", trusted=True)
            if problems:
                raise problems[0]
            found |= {item.rule.id: item.rule for item in rules}
    return MappingProxyType(found)
