"""The live response library on both databases."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shieldwall.errors import ApiError
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.response import library as module
from shieldwall.response.library import Library
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from tests.conftest import OTHER_TENANT, TENANT

from .test_concurrency import at_once

ANALYST = Principal(TENANT, "app", "analyst", frozenset())
OTHER = Principal(OTHER_TENANT, "app", "analyst", frozenset())


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, Settings(data=tmp_path))


def test_of_two_uploads_of_one_name_at_once_one_is_refused_or_replaced(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = audit.record

    def dwell(*arguments: Any, **named: Any) -> None:
        time.sleep(0.2)
        record(*arguments, **named)

    monkeypatch.setattr(audit, "record", dwell)
    outcomes = at_once(lambda: library.put(ANALYST, "a.sh", b"1"), lambda: library.put(ANALYST, "A.sh", b"2"))
    assert outcomes == ["BadRequest", "done"]
    outcomes = at_once(*[lambda: library.put(ANALYST, "b.sh", b"1", override=True)] * 3)
    assert outcomes == ["done"] * 3


def test_contents_are_apart_by_tenant_and_removed_when_nobody_needs_them(
    library: Library, tmp_path: Path
) -> None:
    kept = library.put(ANALYST, "kept", b"kept").sha256
    gone = library.put(ANALYST, "gone", b"gone").sha256
    assert library.content(OTHER_TENANT, kept) is None
    library.delete(ANALYST, "gone")
    library.prune()
    assert library.content(TENANT, gone), "an open session may still fetch it"
    for path in (tmp_path / "library").glob("*/*"):
        os.utime(path, (0, 0))
    library.prune()
    assert library.content(TENANT, gone) is None
    assert library.content(TENANT, kept)
    for name in ("../../state.db", "x", "", "0" * 63):
        assert library.content(TENANT, name) is None
    with pytest.raises(ApiError):
        library.delete(OTHER, "kept")


def test_a_tenants_library_is_bounded(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIBRARY_BYTES", 10)
    library.put(ANALYST, "a", b"12345")
    library.put(OTHER, "a", b"1234567890")
    with pytest.raises(ApiError, match="at most"):
        library.put(ANALYST, "b", b"123456")
    library.put(ANALYST, "a", b"1234567890", override=True)


def test_what_is_refused_is_not_written(library: Library, tmp_path: Path) -> None:
    library.put(ANALYST, "a.sh", b"1")
    for number in range(3):
        with pytest.raises(ApiError):
            library.put(ANALYST, "a.sh", b"%d more" % number)
    assert len(list((tmp_path / "library").glob("*/*"))) == 1


def test_the_same_content_uploaded_at_once_is_whole(library: Library) -> None:
    """Threads that write one file must not share what they write to."""
    content = b"x" * (4 << 20)
    for turn in range(5):
        mine = content + bytes([turn])
        uploads = [partial(library.put, ANALYST, f"{turn}-{name}", mine) for name in "abcd"]
        assert at_once(*uploads) == ["done"] * 4
        with library._database.read(TENANT) as session:
            digest = session.query(module.LibraryFile.sha256).filter_by(key=f"{turn}-a").scalar()
        path = library.content(TENANT, digest)
        assert path is not None
        assert path.read_bytes() == mine


def test_an_old_content_that_is_wanted_again_is_not_removed_as_unused(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.put(ANALYST, "a", b"again")
    library.delete(ANALYST, "a")
    (path,) = (tmp_path / "library").glob("*/*")
    os.utime(path, (0, 0))
    glob = Path.glob

    def put_meanwhile(folder: Path, pattern: str) -> Any:
        """The clean-up has read which files are kept, and now comes to their contents."""
        found = list(glob(folder, pattern))
        library.put(ANALYST, "b", b"again")
        return found

    monkeypatch.setattr(Path, "glob", put_meanwhile)
    library.prune()
    assert path.read_bytes() == b"again"
