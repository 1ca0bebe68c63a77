import time
from pathlib import Path
from typing import Any

from shieldwall_agent import remote_sink
from shieldwall_agent.remote_sink import EventServer, RemoteSink


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
    EventServer(tmp_path, collected)
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
    EventServer(tmp_path, collected)
    assert sink.flush(5)
    collected.wait(1)
    assert collected.events[0]["N"] == 1


def test_full_queue_reports_how_many_went(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(remote_sink, "MOST_WAITING", 10)
    sink = RemoteSink(tmp_path, "gate")
    for number in range(25):
        sink.emit({"Table": "DeviceEvents", "N": number})
    collected = Collected()
    EventServer(tmp_path, collected)
    collected.wait(11)
    assert [event["N"] for event in collected.events if "N" in event] == list(range(15, 25))
    assert collected.events[-1]["AdditionalFields"]["Count"] == 15
