"""`python -m shieldwall.api.contract`: writes `docs/api-coverage.md` in the current folder."""

from __future__ import annotations

from pathlib import Path

from shieldwall.api.contract.coverage import render

if __name__ == "__main__":
    Path("docs/api-coverage.md").write_text(render(Path("tests")))
