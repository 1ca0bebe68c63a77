import time
from pathlib import Path
from typing import Any

from shieldwall_agent import known_files, remote_sink
from shieldwall_agent.known_files import MOST_PATHS, KnownFiles
from shieldwall_agent.remote_sink import EventServer, RemoteSink, paths_of


class Collected:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 5
        while len(self.events) < count and time.monotonic() < deadline:
            time.sleep(0.01)


def test_events_arrive_in_order_with_their_own_time(tmp_path: Path) -> None:
    collected = Collected()
    EventServer(tmp_path, KnownFiles(collected, tmp_path / "files.json"))
    sink = RemoteSink(tmp_path, "gate")
    for number in range(500):
        sink.emit({"Table": "DeviceEvents", "N": number})
    assert sink.flush(5)
    collected.wait(500)
    assert [event["N"] for event in collected.events] == list(range(500))
    assert all(event["Timestamp"] for event in collected.events)


def test_events_wait_for_a_sensor_process_that_is_away(tmp_path: Path) -> None:
    sink = RemoteSink(tmp_path, "gate")
    sink.emit({"Table": "DeviceEvents", "N": 1})
    assert not sink.flush(0.1)
    collected = Collected()
    EventServer(tmp_path, KnownFiles(collected, tmp_path / "files.json"))
    assert sink.flush(5)
    collected.wait(1)
    assert collected.events[0]["N"] == 1


def test_full_queue_reports_how_many_went(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(remote_sink, "MOST_WAITING", 10)
    sink = RemoteSink(tmp_path, "gate")
    for number in range(25):
        sink.emit({"Table": "DeviceEvents", "N": number})
    collected = Collected()
    EventServer(tmp_path, KnownFiles(collected, tmp_path / "files.json"))
    collected.wait(11)
    assert [event["N"] for event in collected.events if "N" in event] == list(range(15, 25))
    assert collected.events[-1]["AdditionalFields"]["Count"] == 15


def file_event(path: str, digit: str = "a") -> dict[str, Any]:
    return {"Table": "DeviceFileEvents", "FolderPath": path, "SHA1": digit * 40}


def test_paths_of_a_file_are_told_newest_first(tmp_path: Path) -> None:
    collected = Collected()
    files = KnownFiles(collected, tmp_path / "files.json")
    EventServer(tmp_path, files)
    sink = RemoteSink(tmp_path, "gate")
    for path in ("/tmp/one", "/tmp/two", "/tmp/one"):
        sink.emit(file_event(path))
    sink.emit(file_event("relative", "b"))
    collected.wait(4)
    assert paths_of(tmp_path, "A" * 40) == ["/tmp/one", "/tmp/two"]
    assert paths_of(tmp_path, "b" * 40) == []
    files.save()
    assert KnownFiles(collected, tmp_path / "files.json").paths("a" * 40) == ["/tmp/one", "/tmp/two"]
    (tmp_path / "files.json").write_text("no json")
    assert KnownFiles(collected, tmp_path / "files.json").paths("a" * 40) == []


def test_known_files_stay_bounded(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(known_files, "MOST_FILES", 10)
    files = KnownFiles(Collected(), tmp_path / "files.json")
    for number in range(100):
        files.emit(file_event(f"/tmp/{number}"))
        files.emit({"Table": "DeviceFileEvents", "FolderPath": "/x", "SHA1": f"{number:040x}"})
    assert len(files.paths("a" * 40)) == MOST_PATHS
    assert files.paths(f"{99:040x}") == ["/x"]
    assert files.paths(f"{5:040x}") == []


def test_nobody_to_ask(tmp_path: Path) -> None:
    assert paths_of(tmp_path, "a" * 40) == []
