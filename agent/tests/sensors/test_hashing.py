"""Hashes are of the very file, and read once."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent import hashing
from shieldwall_agent.hashing import Hasher


def test_reads_a_state_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    reads = []
    digest = hashing._digest
    monkeypatch.setattr(hashing, "_digest", lambda fd: reads.append(fd) or digest(fd))
    hasher = Hasher()
    first: Any = hasher.hash(str(path))
    assert first == hasher.hash(str(path))
    assert first[0]["SHA256"] == hashlib.sha256(b"one").hexdigest()
    assert len(reads) == 1
    path.write_bytes(b"other")
    changed: Any = hasher.hash(str(path))
    assert changed[0]["MD5"] == hashlib.md5(b"other").hexdigest()
    assert len(reads) == 2


def test_refuses_another_file_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    inode = path.stat().st_ino
    assert Hasher().hash(str(path), inode)
    assert Hasher().hash(str(path), inode + 1) is None
    assert Hasher().hash(str(tmp_path)) is None
