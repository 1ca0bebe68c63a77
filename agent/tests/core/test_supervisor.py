"""The supervisor with real processes. Each test runs it in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shieldwall_agent import ipc

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from shieldwall_agent.supervisor import Child, Supervisor

def steady(heart):
    while True:
        heart.beat({"beats": time.monotonic()})
        time.sleep(0.05)

def slow_to_stop(heart):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    steady(heart)

def crashing(heart):
    heart.beat({"crashing": True})
    raise RuntimeError("on purpose")

def thread_crash(heart):
    import threading
    threading.Thread(target=lambda: 1 / 0).start()
    steady(heart)

def once(heart):
    heart.beat({"done": True})

import shieldwall_agent.supervisor as module
module.STOP_SECONDS = 0.5
children = [Child(name, globals()[name], 0.6) for name in sys.argv[2:]]
Supervisor(Path(sys.argv[1]), children).run()
"""


started: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    started.clear()


class Running:
    def __init__(self, folder: Path, *children: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), *children])
        started.append(self.process)

    def status(self) -> dict[str, Any]:
        try:
            return ipc.ask(self.folder, ipc.CONTROL, {"ask": "status"})["processes"]
        except OSError:
            return {}

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            status = self.status()
            if status and condition(status):
                return status
            time.sleep(0.02)
        raise AssertionError(f"it did not happen: {self.status()}")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(10)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(*pids: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def test_killed_child_is_started_again_and_the_other_stays(tmp_path: Path) -> None:
    running = Running(tmp_path, "steady", "slow_to_stop")
    before = running.until(lambda s: all("beats" in child for child in s.values()))
    os.kill(before["steady"]["pid"], signal.SIGKILL)
    after = running.until(lambda s: s["steady"]["restarts"] == 1 and s["steady"]["pid"] > 0)
    assert after["steady"]["pid"] != before["steady"]["pid"]
    assert after["slow_to_stop"] == {**before["slow_to_stop"], "beats": after["slow_to_stop"]["beats"]}
    running.stop()


def test_stuck_child_is_killed_and_replaced(tmp_path: Path) -> None:
    running = Running(tmp_path, "steady")
    pid = running.until(lambda s: "beats" in s["steady"])["steady"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    after = running.until(lambda s: s["steady"]["restarts"] == 1 and s["steady"]["pid"] > 0)
    assert time.monotonic() - started < 3
    assert after["steady"]["killed_stuck"] == 1
    assert gone(pid)
    running.stop()


def test_crashing_child_is_restarted_ever_more_slowly(tmp_path: Path) -> None:
    running = Running(tmp_path, "crashing", "steady")
    running.until(lambda s: s["crashing"]["restarts"] >= 3)
    assert running.status()["steady"]["restarts"] == 0
    time.sleep(0.5)
    assert running.status()["crashing"]["restarts"] <= 5
    running.stop()


def test_thread_that_crashes_restarts_its_process(tmp_path: Path) -> None:
    running = Running(tmp_path, "thread_crash")
    running.until(lambda s: s["thread_crash"]["restarts"] >= 1)
    running.stop()


def test_child_that_ends_well_stays_ended(tmp_path: Path) -> None:
    running = Running(tmp_path, "once", "steady")
    status = running.until(lambda s: s["once"].get("done") and not s["once"]["running"])
    assert status["once"]["restarts"] == 0
    running.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_leaves_no_process_and_no_socket(tmp_path: Path, number: signal.Signals) -> None:
    running = Running(tmp_path, "steady", "slow_to_stop")
    pids = [c["pid"] for c in running.until(lambda s: all("beats" in c for c in s.values())).values()]
    running.process.send_signal(number)
    assert running.process.wait(10) == 0
    assert gone(*pids)
    assert not (tmp_path / ipc.CONTROL).exists()


def test_children_go_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    running = Running(tmp_path, "steady")
    pid = running.until(lambda s: "beats" in s["steady"])["steady"]["pid"]
    running.process.kill()
    running.process.wait()
    assert gone(pid)


def test_control_socket_is_private(tmp_path: Path) -> None:
    running = Running(tmp_path, "steady")
    running.until(lambda s: bool(s))
    assert oct((tmp_path / ipc.CONTROL).stat().st_mode)[-3:] == "600"
    running.stop()


@pytest.mark.root
def test_another_user_is_not_answered(tmp_path: Path) -> None:
    running = Running(tmp_path, "steady")
    running.until(lambda s: bool(s))
    tmp_path.chmod(0o755)
    (tmp_path / ipc.CONTROL).chmod(0o666)
    code = """
import socket
client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
client.connect("control.sock")
try:
    client.send(b"{}")
    print("answered" if client.recv(100) else "refused")
except ConnectionError:
    print("refused")
"""
    command = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code]
    asked = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    assert asked.stdout == b"refused\n"
    running.stop()


def test_systemd_is_told_of_readiness_and_life(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        path = tmp_path / "notify"
        systemd.bind(str(path))
        systemd.settimeout(5)
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), "steady"], env=environment)
        heard = [systemd.recv(100) for _ in range(4)]
        process.terminate()
        process.wait(10)
        heard += [systemd.recv(100)]
        while heard[-1] == b"WATCHDOG=1":
            heard.append(systemd.recv(100))
    assert heard[0] == b"READY=1\nSTATUS=Running"
    assert set(heard[1:-1]) == {b"WATCHDOG=1"}
    assert heard[-1] == b"STOPPING=1"
