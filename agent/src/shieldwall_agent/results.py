"""Tells the server how its commands went, again and again until it has accepted it."""

import json
import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from shieldwall_agent.commands import FAILED, RUNNING, SUCCEEDED, Command, Journal
from shieldwall_agent.transport import Client, Pause, Refused, Unreachable

IDLE_SECONDS = 30.0
UPLOAD_SECONDS = 300.0
LONGEST_RESULT = 256 * 1024  # bytes of JSON

log = logging.getLogger(__name__)


class Reporter:
    """Works off the journal; `changed` is set whenever there is something new in it.

    `offboarded` is called when the server knows that this device has left it.
    """

    def __init__(
        self,
        client: Client,
        journal: Journal,
        changed: threading.Event,
        stop: threading.Event,
        offboarded: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._journal = journal
        self._changed = changed
        self._stop = stop
        self._offboarded = offboarded

    def run(self) -> None:
        """Until `stop` is set (and `changed` with it)."""
        pause = Pause()
        while not self._stop.is_set():
            self._changed.clear()
            try:
                done = self.report_all()
            except sqlite3.Error:
                log.exception("the journal cannot be written")
                done = False
            if done:
                pause.reset()
                self._client.close()
                self._changed.wait(IDLE_SECONDS)
            else:
                self._stop.wait(pause.next())

    def report_all(self) -> bool:
        """One try at all that is unreported; False when some of it has to be tried again."""
        done = True
        for command in self._journal.unreported():
            try:
                self._report(command)
            except Unreachable as error:
                log.info("result of %s not reported yet: %s", command.id, error)
                return False
            except Refused as refusal:
                if refusal.code == "DeviceRevoked" and _has_left(command):
                    self._offboarded()  # the answer to our report was lost
                    return True
                if refusal.status in (401, 403, 408, 429) or refusal.status >= 500:
                    log.info("result of %s not reported yet: %s", command.id, refusal)
                    done = False
                    continue
                log.warning("the server does not want the result of %s: %s", command.id, refusal)
                self._drop_package(command)
                self._journal.note_reported(command.id, command.status)
        return done

    def _report(self, command: Command) -> None:
        if command.package:
            self._upload(command)
        body: dict[str, object] = {"status": command.status}
        if command.status == FAILED:
            body["error"] = command.error
        if command.status != RUNNING:
            body["result"] = command.result
        content = json.dumps(body).encode()
        if len(content) > LONGEST_RESULT:
            content = json.dumps({**body, "result": {"truncated": True}}).encode()
        self._client.request(
            "POST", f"/agent/v1/actions/{command.id}", content, {"Content-Type": "application/json"}
        )
        self._journal.note_reported(command.id, command.status)
        if _has_left(command):
            self._offboarded()

    def _upload(self, command: Command) -> None:
        """The package, or each file of a folder, whose name is the number of the command it came from."""
        package, target = Path(command.package), f"/agent/v1/actions/{command.id}"
        if package.is_dir():
            for result in sorted(package.iterdir()):
                self._upload_file(f"{target}/results/{int(result.stem)}", result)
        else:
            self._upload_file(f"{target}/package", package)
        self._drop_package(command)

    def _upload_file(self, target: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._client.upload(target, file, UPLOAD_SECONDS)
        except FileNotFoundError:
            log.warning("%s has gone before it was uploaded", path)

    def _drop_package(self, command: Command) -> None:
        package = Path(command.package)
        if command.package:
            if package.is_dir():
                shutil.rmtree(package, ignore_errors=True)
            package.unlink(missing_ok=True)
            self._journal.note_uploaded(command.id)


def _has_left(command: Command) -> bool:
    return command.type == "offboard" and command.status == SUCCEEDED
