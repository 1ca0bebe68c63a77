"""Clients that cannot share our environment: each has one of its own, which the first test run makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def python_of(name: str) -> Path:
    """The interpreter of the environment that ``<name>.txt`` describes."""
    home = Path(sys.prefix) / "apart" / name
    wanted = (HERE / f"{name}.txt").read_text()
    done = home / "installed.txt"
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / f"{name}.txt"], check=True)
        done.write_text(wanted)
    return home / "bin" / "python"


def run(python: Path, script: str, request: dict[str, Any], **environment: str) -> dict[str, Any]:
    """What a script of this folder answers to a request, both as JSON."""
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [python, HERE / script],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=known | environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
