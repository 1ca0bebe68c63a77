"""`python -m shieldwall.kql.coverage`: writes docs/kql-coverage.md from the tables of functions.

Example: python -m shieldwall.kql.coverage docs/kql-coverage.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from shieldwall.kql import compiler, functions, plugins  # noqa: F401
from shieldwall.kql.functions.registry import (
    AGGREGATES,
    CODED,
    CODED_AGGREGATES,
    COLLECTED,
    LOCALS,
    SCALARS,
    Signature,
)
from shieldwall.kql.graphs.leaves import FUNCTIONS
from shieldwall.kql.operators.registry import OPERATORS, SOURCES
from shieldwall.kql.plugins.refused import REFUSED
from shieldwall.kql.plugins.registry import PLUGINS

HEAD = """# What of the hunting language is there

Written by `python -m shieldwall.kql.coverage docs/kql-coverage.md` from the tables in `src/shieldwall/kql`; a
test compares it. *SQL* is computed by ClickHouse over all rows at once; *Python* is computed between two
statements, for what ClickHouse lacks, and at once where all arguments are constant.
"""


def document() -> str:
    """The whole text."""
    notes = yaml.safe_load(Path(__file__).with_name("coverage_notes.yaml").read_text())
    parts = [HEAD, _list("Tabular operators", _visible({*OPERATORS, *SOURCES}))]
    parts.append(_table("Scalar functions", _scalars()))
    parts.append(_table("Aggregates", _aggregates()))
    parts.append(_list("Functions of patterns in graphs", _visible(FUNCTIONS)))
    parts.append(_list("Plugins of evaluate", _visible(set(PLUGINS) - set(REFUSED))))
    parts.append(_list("Refused, since they would leave the tenant's data", _visible(REFUSED)))
    for title, entries in notes.items():
        lines = "\n".join(f"| {name} | {reason} |" for name, reason in entries.items())
        parts.append(f"## {title}\n\n| what | why |\n|---|---|\n{lines}\n")
    return "\n".join(parts)


def _visible(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith(("$", "_")))


def _list(title: str, names: list[str]) -> str:
    return f"## {title} ({len(names)})\n\n" + ", ".join(f"`{name}`" for name in names) + "\n"


def _table(title: str, rows: dict[str, tuple[str, str]]) -> str:
    lines = "\n".join(f"| `{shown}` | {how} |" for _, (shown, how) in sorted(rows.items()))
    return f"## {title} ({len(rows)})\n\n| signature | computed by |\n|---|---|\n{lines}\n"


def _scalars() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for name, (signatures, _) in LOCALS.items():
        found[name] = (_shown(signatures), "Python")
    for name, signatures in SCALARS.items():
        found[name] = (_shown(signatures), "SQL")
    for name, work in CODED.items():
        found[name] = (f"{name}(...)", "SQL or Python" if _is_mixed(work) else "SQL")
    return {name: entry for name, entry in found.items() if not name.startswith(("$", "_"))}


def _aggregates() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for name, signatures in AGGREGATES.items():
        found[name] = (_shown(signatures), "SQL")
    for name in CODED_AGGREGATES:
        found[name] = (f"{name}(...)", "SQL")
    for name in COLLECTED:
        found[name] = (f"{name}(...)", "Python over what SQL collects")
    return {name: entry for name, entry in found.items() if not name.startswith(("$", "_"))}


def _is_mixed(work: Callable[..., Any]) -> bool:
    return "in_python" in work.__code__.co_names or "local" in work.__code__.co_names


def _shown(signatures: list[Signature]) -> str:
    """The longest of a function's signatures."""
    longest = max(signatures, key=lambda signature: len(signature.params))
    params: list[str] = []
    for param in longest.params:
        text = param.type + ("..." if param.repeated else "")
        params.append(f"[{text}]" if param.optional and not param.repeated else text)
    return f"{longest.name}({', '.join(params)}): {longest.returns}"


def main() -> int:
    text = document()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
