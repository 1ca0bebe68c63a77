"""The vault gives back exactly what it took, and takes only what it was asked to."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent.responses.vault import CHUNK, Vault, VaultError


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    return place


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_round_trip_with_all_metadata(vault: Vault, home: Path, tmp_path: Path, size: int) -> None:
    path = home / "tool"
    content = os.urandom(size)
    path.write_bytes(content)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    path.chmod(0o4755)
    try:
        os.setxattr(path, "user.note", b"\0binary\xff")
        attributes = True
    except OSError:
        attributes = False
    os.utime(path, ns=(1_000_000_000, 1_600_000_000_123_456_789))
    before = path.stat()
    item = vault.take(str(path), "test")
    assert not path.exists()
    stored = b"".join(p.read_bytes() for p in (tmp_path / "vault").glob("*.bin"))
    assert size < 16 or content[:16] not in stored
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in (tmp_path / "vault").iterdir())
    again = Vault(tmp_path / "vault")  # the key is kept
    assert [i.id for i in again.items()] == [item.id]
    assert again.restore(item.id) == str(path)
    after = path.stat()
    assert path.read_bytes() == content
    for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_size"):
        assert getattr(after, name) == getattr(before, name), name
    if attributes:
        assert os.getxattr(path, "user.note") == b"\0binary\xff"
    assert again.items() == []
    assert list(home.iterdir()) == [path]


def test_a_symbolic_link_is_never_followed(vault: Vault, home: Path) -> None:
    target = home / "precious"
    target.write_text("keep me")
    link = home / "link"
    link.symlink_to(target)
    with pytest.raises(VaultError):
        vault.take(str(link))
    assert target.read_text() == "keep me"
    assert vault.items() == []


def test_other_contents_or_kinds_are_left_alone(vault: Vault, home: Path) -> None:
    path = home / "file"
    path.write_text("innocent")
    with pytest.raises(VaultError):
        vault.take(str(path), expected_digest="0" * 40)
    assert path.read_text() == "innocent"
    fifo = home / "fifo"
    os.mkfifo(fifo)
    for wrong in (str(fifo), str(home), "relative", "/", str(home / "missing"), "/dev/null"):
        with pytest.raises(VaultError):
            vault.take(wrong)
    assert vault.items() == []


@pytest.mark.parametrize("pause", [0.0005, 0.03], ids=["too fast", "now and then"])
def test_swapping_while_it_is_taken_never_costs_another_file(vault: Vault, home: Path, pause: float) -> None:
    """Somebody exchanges the file for a hard link or symlink to a precious one as fast as they can."""
    precious = home / "precious"
    precious.write_text("keep me")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for make in (os.link, os.symlink):
                os.makedirs(home / "spare", exist_ok=True)
                make(precious, home / "spare" / "x")
                os.replace(home / "spare" / "x", home / "bad")
                (home / "spare" / "y").write_text("bad")
                os.replace(home / "spare" / "y", home / "bad")
                time.sleep(random.random() * pause)  # now and then a taking fits between

    (home / "bad").write_text("bad")
    digest = hashlib.sha1(b"bad").hexdigest()
    swapper = threading.Thread(target=swap)
    swapper.start()
    taken, tries, deadline = 0, 0, time.monotonic() + 60
    try:
        # On a busy machine it takes longer until one fits between.
        while tries < 200 or (pause > 0.01 and not taken and time.monotonic() < deadline):
            tries += 1
            try:
                assert vault.take(str(home / "bad"), expected_digest=digest).sha1 == digest
                taken += 1
            except VaultError:
                pass
    finally:
        stop.set()
        swapper.join()
    assert taken or pause < 0.01
    assert precious.read_text() == "keep me"
    assert {p.name for p in home.iterdir()} <= {"precious", "bad", "spare"}


def test_what_is_in_the_way_goes_back_or_is_kept(
    vault: Vault, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is exchanged before it is removed, and something new takes its name while it is looked at."""
    path = home / "bad"
    rename = os.rename

    def scenario(exchange: Callable[[], object], newcomer: Callable[[], object] | None) -> None:
        path.write_text("bad")

        def renamed(*arguments: Any, **named: Any) -> None:
            path.unlink()
            exchange()
            rename(*arguments, **named)
            if newcomer is not None:
                newcomer()

        monkeypatch.setattr(os, "rename", renamed)
        with pytest.raises(VaultError, match="exchanged meanwhile"):
            vault.take(str(path))
        monkeypatch.setattr(os, "rename", rename)

    scenario(path.mkdir, None)
    assert path.is_dir()
    path.rmdir()
    scenario(lambda: path.symlink_to("/etc/passwd"), None)
    assert path.is_symlink()
    path.unlink()
    assert vault.items() == []
    scenario(lambda: path.write_text("other"), lambda: path.write_text("newest"))
    assert path.read_text() == "newest"
    assert [p.name for p in home.iterdir()] == ["bad"]
    (kept,) = vault.items()
    path.unlink()
    assert vault.restore(kept.id) == str(path)
    assert path.read_text() == "other", "no content is lost by the vault's doing"


def test_restore_never_replaces_a_file_nor_goes_through_a_link(
    vault: Vault, home: Path, tmp_path: Path
) -> None:
    path = home / "deep" / "file"
    path.parent.mkdir()
    path.write_text("bad")
    item = vault.take(str(path))
    path.write_text("newer")
    with pytest.raises(VaultError):
        vault.restore(item.id)
    assert path.read_text() == "newer"
    path.unlink()
    path.parent.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.parent.symlink_to(elsewhere)
    with pytest.raises(VaultError):
        vault.restore(item.id)
    assert list(elsewhere.iterdir()) == []
    path.parent.unlink()
    path.parent.mkdir()
    assert vault.restore(item.id) == str(path)


def test_changed_or_cut_content_is_noticed(vault: Vault, home: Path, tmp_path: Path) -> None:
    for damage in ("flip", "cut", "exchange"):
        path = home / damage
        path.write_bytes(os.urandom(2 * CHUNK))
        item = vault.take(str(path))
        blob = tmp_path / "vault" / f"{item.id}.bin"
        data = bytearray(blob.read_bytes())
        if damage == "flip":
            data[100] ^= 1
        elif damage == "cut":
            del data[CHUNK + 16 :]
        else:
            first, second = data[: CHUNK + 16], data[CHUNK + 16 : 2 * (CHUNK + 16)]
            data[: 2 * (CHUNK + 16)] = second + first
        blob.write_bytes(data)
        with pytest.raises(VaultError):
            vault.restore(item.id)
        assert not path.exists()
        assert [p for p in home.iterdir() if "restoring" in p.name] == []


@pytest.mark.parametrize("item_id", ["", "../../etc/passwd", "0" * 32, "0" * 31, "A" * 32])
def test_ids_that_are_none(vault: Vault, item_id: str) -> None:
    with pytest.raises(VaultError):
        vault.restore(item_id)
