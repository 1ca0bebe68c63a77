"""Uploads and the channel against a server of the protocol over real TLS."""

import datetime
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from protocol_server import ProtocolServer, now

from shieldwall_agent.channel import Channel
from shieldwall_agent.commands import Journal, Message
from shieldwall_agent.config import State
from shieldwall_agent.executor import Executor, Outcome
from shieldwall_agent.identity import Clock
from shieldwall_agent.results import Reporter
from shieldwall_agent.spool import SpoolWriter
from shieldwall_agent.spool_reader import SpoolReader
from shieldwall_agent.transport import Client
from shieldwall_agent.uploader import Uploader


def uploader(state: State, losses: list[dict[str, Any]] | None = None) -> Uploader:
    client = Client.open(state, state.load(), Clock())
    emit = losses.append if losses is not None else lambda event: None
    return Uploader(client, SpoolReader(state.spool), time.sleep, emit, threading.Event())


def spool(state: State, numbers: range) -> None:
    writer = SpoolWriter(state.spool)
    for number in numbers:
        writer.emit({"Table": "DeviceEvents", "ActionType": "Test", "AdditionalFields": {"N": number}})
    writer.close()


def stored(server: ProtocolServer) -> list[int]:
    return [row["AdditionalFields"]["N"] for row in server.rows]


def send_all(sender: Uploader, tries: int = 100) -> None:
    for _ in range(tries):
        batch = sender._reader.take()
        if batch is None:
            return
        sender.send(batch)
    raise AssertionError("the spool does not empty")


def test_events_arrive_once_and_in_order(server: ProtocolServer, state: State) -> None:
    spool(state, range(12_000))
    sender = uploader(state)
    send_all(sender)
    assert stored(server) == list(range(12_000))
    assert {"Table", "Timestamp", "ReportId", "ActionType"} <= set(server.rows[0])
    counters = sender.counters()
    assert (counters["sent"], counters["acknowledged"], counters["rejected"]) == (12_000, 12_000, 0)


def test_lost_answer_is_sent_again_byte_for_byte(server: ProtocolServer, state: State) -> None:
    spool(state, range(100))
    server.lose_answers = 1
    sender = uploader(state)
    batch = sender._reader.take()
    assert batch is not None
    assert sender.send(batch) > 0
    spool(state, range(100, 150))
    send_all(uploader(state))  # as a new process would
    assert server.batches[0] == server.batches[1]
    assert stored(server) == list(range(150))


def test_pressure_is_obeyed_and_nothing_is_lost(server: ProtocolServer, state: State) -> None:
    spool(state, range(10))
    error = {"error": {"code": "TooManyRequests", "message": "Later."}}
    server.answers = [(429, {"Retry-After": "7"}, error), (503, {}, error)]
    sender = uploader(state)
    batch = sender._reader.take()
    assert batch is not None
    assert 7 <= sender.send(batch) <= 7 * 1.2
    assert 0 < sender.send(batch) <= 2
    send_all(sender)
    assert stored(server) == list(range(10))


def test_too_large_batches_are_halved(server: ProtocolServer, state: State) -> None:
    spool(state, range(3_000))
    server.largest_body = 40_000
    send_all(uploader(state))
    assert stored(server) == list(range(3_000))


def test_only_the_event_that_is_refused_for_good_is_given_up(server: ProtocolServer, state: State) -> None:
    writer = SpoolWriter(state.spool)
    for number in range(10):
        padding = "x" * (2_000 if number == 4 else 1)
        writer.emit({"Table": "DeviceEvents", "AdditionalFields": {"N": number, "P": padding}})
    writer.close()
    server.largest_body = 1_500
    sender = uploader(state)
    send_all(sender)
    assert stored(server) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert sender.counters()["rejected"] == 1


def test_copied_spool_does_not_lose_events_to_a_stream_that_went_on(
    server: ProtocolServer, state: State
) -> None:
    spool(state, range(10))
    sender = uploader(state)
    batch = sender._reader.take()
    assert batch is not None
    server.streams[batch.stream] = 10**6  # the disk was set back, the server was not
    sender.send(batch)
    send_all(sender)
    assert stored(server) == list(range(10))


def test_losses_in_the_spool_are_reported_as_an_event(server: ProtocolServer, state: State) -> None:
    spool(state, range(10))
    spool(state, range(10, 20))
    first = sorted(state.spool.glob("*.seg"))[0]
    first.unlink()
    losses: list[dict[str, Any]] = []
    sender = uploader(state, losses)
    send_all(sender)
    sender._report_losses()
    assert stored(server) == list(range(10, 20))
    assert [loss["AdditionalFields"]["Count"] for loss in losses] == [10]
    assert losses[0]["ActionType"] == "SensorEventsLost"


class Agent:
    """The transport of one agent, with handlers that only note what they were asked."""

    def __init__(self, state: State) -> None:
        self.enrolment = state.load()
        self.journal = Journal(state.journal)
        self.changed = threading.Event()
        self.stop = threading.Event()
        self.carried_out: list[tuple[str, dict[str, Any]]] = []
        self.deltas: list[dict[str, Any]] = []
        self.blocked = threading.Event()
        self.clock = Clock()
        client = Client.open(state, self.enrolment, self.clock)
        package = state.folder / "package.zip"
        package.write_bytes(b"PK" + bytes(3_000_000))

        def note(kind: str) -> Any:
            def handler(body: dict[str, Any], cancelled: threading.Event) -> Outcome:
                self.carried_out.append((kind, body))
                if kind == "stop_and_quarantine":
                    raise RuntimeError("no file with this hash was found")
                if kind == "collect_package":
                    self.blocked.wait(10)
                    return Outcome({"files": 1}, package)
                return Outcome({"applied": True})

            return handler

        kinds = ("isolate", "unisolate", "stop_and_quarantine", "collect_package", "restore_file")
        self.executor = Executor(self.journal, {kind: note(kind) for kind in kinds}, self.changed.set)
        self.reporter = Reporter(client.another(), self.journal, self.changed, self.stop)
        self.channel = Channel(
            client,
            self.clock,
            self.enrolment.command_key,
            self.enrolment.device_id,
            self.journal,
            lambda: len(self.deltas),
            lambda: False,
            self.deltas.append,
            self.executor.dispatch,
            self.stop,
        )

    def start(self) -> None:
        for part in (self.channel.run, self.reporter.run):
            threading.Thread(target=part, daemon=True).start()

    def close(self) -> None:
        self.blocked.set()
        self.stop.set()
        self.changed.set()


@pytest.fixture
def agent(state: State) -> Any:
    running = Agent(state)
    yield running
    running.close()


def statuses(server: ProtocolServer, action: str) -> list[str]:
    return [body["status"] for identity, body in server.results if identity == action]


def test_command_is_carried_out_and_its_result_reported(server: ProtocolServer, agent: Agent) -> None:
    agent.start()
    action = server.send(agent.enrolment.device_id, "isolate", {"scope": "Full", "allow": []})
    server.wait_for(lambda s: "Succeeded" in statuses(s, action))
    assert agent.carried_out == [("isolate", {"scope": "Full", "allow": [], "id": action})]
    failing = server.send(agent.enrolment.device_id, "stop_and_quarantine", {"sha1": "a" * 40})
    server.wait_for(lambda s: "Failed" in statuses(s, failing))
    assert server.results[-1][1]["error"] == "no file with this hash was found"
    unknown = server.send(agent.enrolment.device_id, "format_disk")
    server.wait_for(lambda s: "Failed" in statuses(s, unknown))


def test_long_action_delays_neither_channel_nor_containment(server: ProtocolServer, agent: Agent) -> None:
    agent.start()
    package = server.send(agent.enrolment.device_id, "collect_package")
    server.wait_for(lambda s: "InProgress" in statuses(s, package))
    isolation = server.send(agent.enrolment.device_id, "isolate", {"scope": "Full"})
    server.wait_for(lambda s: "Succeeded" in statuses(s, isolation))
    assert "Succeeded" not in statuses(server, package)
    agent.blocked.set()
    server.wait_for(lambda s: "Succeeded" in statuses(s, package))
    assert server.packages[package] == b"PK" + bytes(3_000_000)
    assert not any(command.package for command in agent.journal._select(""))


def test_cancel_before_the_begin(server: ProtocolServer, agent: Agent) -> None:
    agent.start()
    device = agent.enrolment.device_id
    first = server.send(device, "collect_package")
    second = server.send(device, "collect_package")
    server.wait_for(lambda s: "InProgress" in statuses(s, first))
    server.send(device, "cancel", {"action_id": second})
    server.wait_for(lambda s: "Failed" in statuses(s, second))
    agent.blocked.set()
    server.wait_for(lambda s: "Succeeded" in statuses(s, first))
    assert len(agent.carried_out) == 1


def test_forged_foreign_expired_and_replayed_messages_change_nothing(
    server: ProtocolServer, agent: Agent
) -> None:
    device = agent.enrolment.device_id
    hour = datetime.timedelta(hours=1)
    server.send(device, "isolate", signing_key=Ed25519PrivateKey.generate())
    server.send("0" * 40, "isolate")
    server.send(device, "isolate", expires=(now() - hour).isoformat())
    server.send(device, "isolate", issued=(now() + hour).isoformat(), expires=(now() + 2 * hour).isoformat())
    server.send(device, "isolate", expires="2999-01-01T00:00:00")
    server.send(device, "isolate", id="../../../etc/passwd")
    server.send(device, "isolate", body=["not", "an", "object"])  # type: ignore[arg-type]
    server.send(device, "isolate")
    good = server.messages[-1]
    server.messages[-1] = {**good, "payload": "e30=" + good["payload"]}
    server.send_raw({"payload": "?", "signature": "?"})
    assert agent.channel.poll(0) > 0
    assert agent.channel.counters()["refused"] == 9
    assert agent.channel.counters()["messages"] == 0
    server.send(device, "isolate")
    once = dict(server.messages[-1])
    assert agent.channel.poll(0) == 0
    server.send_raw(once)
    agent.channel.poll(0)
    time.sleep(0.1)
    assert len(agent.carried_out) == 1


def test_command_that_the_server_repeats_is_reported_again_but_not_run_again(
    server: ProtocolServer, agent: Agent
) -> None:
    device = agent.enrolment.device_id
    action = server.send(device, "unisolate")
    agent.channel.poll(0)
    while agent.journal.unfinished():
        time.sleep(0.01)
    assert agent.reporter.report_all()
    for _ in range(5):
        server.send(device, "unisolate", id=action)
        assert agent.channel.poll(0) <= 1
    assert agent.reporter.report_all()
    assert len(agent.carried_out) == 1
    assert statuses(server, action) == ["Succeeded"] * 2


def test_replay_is_known_after_a_restart(server: ProtocolServer, agent: Agent, state: State) -> None:
    device = agent.enrolment.device_id
    server.send(device, "indicators", {"from": 0, "to": 1, "full": True})
    once = dict(server.messages[-1])
    agent.channel.poll(0)
    assert len(agent.deltas) == 1
    agent.journal.forget_expired(time.time())
    again = Agent(state)
    server.send_raw(once)
    again.channel.poll(0)
    assert again.deltas == []
    assert again.channel.counters()["refused"] == 1
    again.close()


def test_indicators_that_fail_are_asked_for_again(server: ProtocolServer, agent: Agent) -> None:
    def fail(body: dict[str, Any]) -> None:
        raise RuntimeError("revision gap")

    agent.channel._indicators = fail
    server.send(agent.enrolment.device_id, "indicators", {"from": 5, "to": 6})
    assert agent.channel.poll(0) > 0
    assert "revision gap" in str(agent.channel.counters()["last_error"])
    assert server.polls[0] == {"revision": ["0"], "isolated": ["0"], "wait": ["0"]}


def test_results_are_reported_until_accepted_and_survive_a_restart(
    server: ProtocolServer, agent: Agent, state: State
) -> None:
    server.refuse_results = 2
    message = Message("action-1", "isolate", {}, time.time() + 60)
    assert agent.journal.accept(message)
    assert not agent.journal.accept(message)
    agent.journal.start("action-1")
    agent.journal.finish("action-1", "", {"applied": True})
    assert not agent.reporter.report_all()
    again = Agent(state)
    again.executor.resume(time.time())
    assert not again.reporter.report_all()
    assert again.reporter.report_all()
    assert server.results == [("action-1", {"status": "Succeeded", "result": {"applied": True}})]
    assert again.carried_out == []
    assert again.reporter.report_all()
    assert len(server.results) == 1
    again.close()


def test_what_a_crash_interrupted_is_begun_repeated_or_failed(
    server: ProtocolServer, agent: Agent, state: State
) -> None:
    later = time.time() + 60
    for identity, kind, begun, expires in (
        ("not-begun", "stop_and_quarantine", False, later),
        ("begun", "collect_package", True, later),
        ("repeatable", "unisolate", True, later),
        ("expired", "isolate", False, time.time() - 1),
    ):
        agent.journal.accept(Message(identity, kind, {}, expires))
        if begun:
            agent.journal.start(identity)
    again = Agent(state)
    again.executor.resume(time.time())
    deadline = time.monotonic() + 5
    while again.journal.unfinished() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(kind for kind, _ in again.carried_out) == ["stop_and_quarantine", "unisolate"]
    assert again.reporter.report_all()
    results = dict(server.results)
    assert results["repeatable"]["status"] == "Succeeded"
    assert "restarted" in results["begun"]["error"]
    assert "expired" in results["expired"]["error"]
    again.close()


def test_a_lone_event_goes_at_once_and_others_within_a_second(server: ProtocolServer, state: State) -> None:
    woken = threading.Event()
    writer = SpoolWriter(state.spool, wake=woken.set)

    def wait(seconds: float) -> None:
        woken.wait(seconds)
        woken.clear()

    stop = threading.Event()
    client = Client.open(state, state.load(), Clock())
    sender = Uploader(client, SpoolReader(state.spool), wait, writer.emit, stop)
    thread = threading.Thread(target=sender.run)
    thread.start()
    delays = []
    for number in range(5):
        emitted = time.monotonic()
        writer.emit({"Table": "DeviceEvents", "AdditionalFields": {"N": number}})
        server.wait_for(lambda s, n=number: n in stored(s))
        delays.append(time.monotonic() - emitted)
    stop.set()
    thread.join()
    writer.close()
    assert delays[0] < 0.6, delays
    assert sorted(delays)[2] < 1.2, delays


def test_journal_forgets_only_what_is_expired_and_reported(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "commands.sqlite")
    for identity, reported in (("reported", True), ("unreported", False)):
        journal.accept(Message(identity, "isolate", {}, time.time() - 10_000))
        journal.start(identity)
        journal.finish(identity, "", {})
        if reported:
            journal.note_reported(identity, "Succeeded")
    journal.accept(Message("current", "indicators", {}, time.time() + 10_000))
    journal.forget_expired(time.time())
    assert journal.get("reported") is None
    assert journal.get("unreported") is not None
    assert journal.get("current") is not None


def test_damaged_journal_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "commands.sqlite"
    path.write_bytes(b"no database" * 1000)
    assert Journal(path).accept(Message("a", "isolate", {}, time.time() + 60))
    assert path.with_suffix(".damaged").exists()
