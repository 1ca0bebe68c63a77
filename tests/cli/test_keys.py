"""`shieldwall keys`, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shieldwall.cli.main import app
from shieldwall.identity import signing_keys
from shieldwall.identity.tokens import LIFETIME


def test_rotating_adds_a_key_that_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIELDWALL_DATA", str(tmp_path))
    refused = CliRunner().invoke(app, ["keys", "rotate"])
    assert refused.exit_code == 2
    assert "no server has run" in refused.output
    folder = tmp_path / "secrets" / "token-keys"
    first = signing_keys.SigningKeys(folder, LIFETIME).current.kid
    done = CliRunner().invoke(app, ["keys", "rotate"])
    assert done.exit_code == 0, done.output
    after = signing_keys.SigningKeys(folder, LIFETIME)
    assert after.current.kid != first
    assert after.get(first) is not None
    for path in folder.glob("*.pem"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stem in done.output or path != max(folder.glob("*.pem"))
