"""The investigation package of this very machine, and its bounds."""

import threading
import time
import zipfile
from pathlib import Path

import pytest

from shieldwall_agent.responses import package
from shieldwall_agent.responses.package import Cancelled, collect
from shieldwall_agent.responses.package_items import Item, Output


def test_it_holds_the_linux_list(tmp_path: Path) -> None:
    target = tmp_path / "out" / "package.zip"
    statuses = {status.item: status for status in collect(target, threading.Event())}
    with zipfile.ZipFile(target) as found:
        assert found.testzip() is None
        names = set(found.namelist())
        processes = found.read("Processes/Processes.csv").decode()
        users = found.read("Users and groups/Users.txt").decode()
        summary = found.read("CollectionSummaryReport.csv").decode()
    assert "pytest" in processes
    assert "root:x:0:0" in users
    for item in ("Files/OpenFiles.csv", "Network connections/Listening.csv", "Disk volumes/Disks.csv"):
        assert item in names
        assert statuses[item].status == "Success"
    assert all(name in summary for name in statuses)
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in target.parent.iterdir()) == ["package.zip"]


def test_each_item_is_bounded_and_failures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "ITEM_SECONDS", 1.0)
    monkeypatch.setattr(package, "LARGEST_ITEM", 100_000)

    def fails() -> Output:
        raise PermissionError("no")

    def hangs() -> Output:
        time.sleep(30)
        return Output(b"late")

    items = [
        Item("long", ("yes",), "yes"),
        Item("slow", ("sleep", "30"), "sleep"),
        Item("missing", ("no-such-command",), "?"),
        Item("fails", fails, "?"),
        Item("hangs", hangs, "?"),
        Item("code", ("false",), "?"),
        Item("good", ("echo", "fine"), "echo"),
    ]
    began = time.monotonic()
    statuses = {s.item: s for s in collect(tmp_path / "p.zip", threading.Event(), items)}
    assert time.monotonic() - began < 10
    expected = {"long": "Truncated", "slow": "Truncated", "missing": "NotAvailable", "fails": "Failed",
                "hangs": "Truncated", "code": "Failed", "good": "Success"}  # fmt: skip
    assert {name: status.status for name, status in statuses.items()} == expected
    with zipfile.ZipFile(tmp_path / "p.zip") as found:
        assert found.read("good") == b"fine\n"
        assert len(found.read("long")) <= 100_000


def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        collect(tmp_path / "p.zip", cancelled, [Item("slow", ("sleep", "30"), "sleep")] * 2)
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []
