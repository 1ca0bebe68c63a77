"""A journald of its own and the sensor that reads it, for a new mount namespace; prints what it saw."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shieldwall_agent.events import Event
from shieldwall_agent.sensors import canaries
from shieldwall_agent.sensors.base import Surroundings
from shieldwall_agent.sensors.journal import Journal

LOG = "/run/systemd/journal/dev-log"
NOBODY = 65534


KILLED = """
import os, time
from shieldwall_agent.sensors.journal import *
journal = Journal(Surroundings(None), set())
journal.start()
print(journal._reader.pid, flush=True)
time.sleep(0.5)
os.kill(os.getpid(), 9)
"""


class _Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def wait(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def write(line: str, uid: int = 0) -> None:
    """A line to the log, by a process of its own."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                log.connect(LOG)
                log.send(line.encode())
                time.sleep(0.3)  # until journald has looked who it is
        os._exit(0)
    os.waitpid(child, 0)


def main(journald: str) -> None:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for place in ("/run", "/var/log"):
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    for folder in ("/run/systemd/journal", "/run/log/journal"):
        Path(folder).mkdir(parents=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    daemon = subprocess.Popen([journald], **quiet)  # type: ignore[call-overload]
    if not wait(Path(LOG).exists):
        print(json.dumps({"skip": "journald does not start here"}))
        return
    canaries.LOG = LOG
    kept = _Kept()
    write("<38>sshd[1]: Accepted password for before from 192.0.2.1 port 1 ssh2")
    mechanism = Journal(Surroundings(kept), {"logons"})
    mechanism.start()
    proved = canaries.prove(mechanism, "logons", Path("/tmp"))
    write("<86>sshd[1]: Accepted password for nobody from 192.0.2.1 port 1 ssh2", NOBODY)
    write("<30>sshd[1]: Accepted password for daemon from 192.0.2.1 port 1 ssh2")  # another facility
    write("<38>sshd[1]: Accepted publickey for bob from 192.0.2.1 port 5022 ssh2: RSA SHA256:x")
    write("<86>sudo:    bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls")
    write("<38>sshd[1]: Failed password for invalid user eve from 192.0.2.2 port 9 ssh2")
    wait(lambda: len(kept.events) >= 3)
    alive = mechanism.alive()
    assert mechanism._reader
    reader = mechanism._reader.pid
    os.kill(reader, signal.SIGKILL)
    fell = wait(lambda: not mechanism.alive())
    mechanism.stop()
    again = Journal(Surroundings(kept), {"logons"})
    again.start()
    assert again._reader
    ended = again._reader
    again.stop()
    orphan = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, check=False
    ).stdout
    left = not wait(lambda: not Path(f"/proc/{int(orphan)}").exists())
    daemon.kill()
    told = [(event["ActionType"], event["AccountName"], event.get("RemoteIP", "")) for event in kept.events]
    print(
        json.dumps(
            {
                "proved": proved,
                "told": told,
                "alive": alive,
                "fell": fell,
                "ended": ended.returncode is not None,
                "left": left,
            }
        )
    )


main(sys.argv[1])
