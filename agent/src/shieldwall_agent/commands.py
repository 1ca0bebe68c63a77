"""What the server orders: checked for who sent it, whom it is for and when, and carried out at most once.

The journal keeps each order on disk before it begins and its result before it is reported, so that after a
crash results are reported again but nothing is run again, and a replayed order is known until it expires.
"""

import base64
import binascii
import json
import logging
import re
import sqlite3
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shieldwall_agent.identity import signed_by

ALLOWED_SKEW = 300.0  # seconds between the clocks of server and agent

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS commands (
  id TEXT PRIMARY KEY, type TEXT NOT NULL, body TEXT NOT NULL, expires REAL NOT NULL,
  status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '', result TEXT NOT NULL DEFAULT '{}',
  package TEXT NOT NULL DEFAULT '', reported TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
"""
_COLUMNS = "id, type, body, expires, status, error, result, package, reported"

RECEIVED, RUNNING, SUCCEEDED, FAILED = "Received", "InProgress", "Succeeded", "Failed"


class BadMessage(Exception):
    """A message that must not be obeyed. The text says why."""


@dataclass(frozen=True)
class Message:
    id: str
    type: str
    body: dict[str, Any]
    expires: float  # unix seconds


@dataclass(frozen=True)
class Command:
    """One row of the journal. `reported` is the last status that the server has accepted."""

    id: str
    type: str
    body: dict[str, Any]
    expires: float
    status: str
    error: str
    result: dict[str, Any]
    package: str  # path of a zip still to be uploaded
    reported: str


def open_message(envelope: Any, command_key: str, device_id: str, now: float) -> Message:
    """The message in an envelope of the long poll. Raises BadMessage unless genuine, ours and current."""
    try:
        encoded, signature = envelope["payload"], envelope["signature"]
        payload = base64.b64decode(encoded, validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise BadMessage("not an envelope") from None
    if not isinstance(signature, str) or not signed_by(command_key, payload, signature):
        raise BadMessage("the signature is not the server's")
    try:
        fields = json.loads(payload)
        message = Message(
            str(fields["id"]), str(fields["type"]), fields.get("body") or {}, _seconds(fields["expires"])
        )
        issued, device = _seconds(fields["issued"]), fields["device_id"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadMessage(f"not a message: {error}") from None
    if device != device_id:
        raise BadMessage("it is for another device")
    if message.expires <= now:
        raise BadMessage("it has expired")
    if issued > now + ALLOWED_SKEW:
        raise BadMessage("it was issued in the future")
    if not _ID.fullmatch(message.id) or not isinstance(message.body, dict):
        raise BadMessage("its id or body is malformed")
    return message


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment.timestamp()


class Journal:
    """Usable from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._database = _open_database(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            log.exception("%s is damaged; beginning a new one", path)
            path.replace(path.with_suffix(".damaged"))
            self._database = _open_database(path)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def accept(self, message: Message) -> bool:
        """Note a new message; False for one that is known."""
        with self._lock:
            return bool(
                self._database.execute(
                    "INSERT OR IGNORE INTO commands (id, type, body, expires, status) VALUES (?, ?, ?, ?, ?)",
                    (message.id, message.type, json.dumps(message.body), message.expires, RECEIVED),
                ).rowcount
            )

    def get(self, command_id: str) -> Command | None:
        found = self._select("WHERE id = ?", command_id)
        return found[0] if found else None

    def start(self, command_id: str) -> bool:
        """Mark it as running; False when it has ended, as by a cancel."""
        return self._update(
            "status = ? WHERE id = ? AND status IN (?, ?)", RUNNING, command_id, RECEIVED, RUNNING
        )

    def finish(self, command_id: str, error: str, result: dict[str, Any], package: str = "") -> bool:
        """Keep the outcome; the first one stands."""
        return self._update(
            "status = ?, error = ?, result = ?, package = ? WHERE id = ? AND status IN (?, ?)",
            FAILED if error else SUCCEEDED,
            error[:4000],
            json.dumps(result, default=str),
            package,
            command_id,
            RECEIVED,
            RUNNING,
        )

    def note_reported(self, command_id: str, status: str) -> None:
        self._update("reported = ? WHERE id = ?", status, command_id)

    def report_again(self, command_id: str) -> None:
        """The server still asks for it, so it does not have the result."""
        self._update("reported = '' WHERE id = ?", command_id)

    def note_uploaded(self, command_id: str) -> None:
        self._update("package = '' WHERE id = ?", command_id)

    def unreported(self) -> list[Command]:
        return self._select(
            "WHERE status != reported AND status != ? AND type NOT IN ('indicators', 'cancel')", RECEIVED
        )

    def unfinished(self) -> list[Command]:
        return self._select("WHERE status IN (?, ?)", RECEIVED, RUNNING)

    def forget_expired(self, now: float) -> None:
        """Delete what is finished, reported and expired: its time alone refuses such a message."""
        with self._lock:
            self._database.execute(
                "DELETE FROM commands WHERE expires < ? AND package = ''"
                " AND (type IN ('indicators', 'cancel') OR (status = reported AND status IN (?, ?)))",
                (now - ALLOWED_SKEW, SUCCEEDED, FAILED),
            )

    def _update(self, assignment: str, *values: object) -> bool:
        with self._lock:
            return bool(self._database.execute(f"UPDATE commands SET {assignment}", values).rowcount)  # noqa: S608

    def _select(self, condition: str, *values: object) -> list[Command]:
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM commands {condition}", values).fetchall()  # noqa: S608
        return [
            Command(r[0], r[1], json.loads(r[2]), r[3], r[4], r[5], json.loads(r[6]), r[7], r[8])
            for r in rows
        ]


def _open_database(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
    path.chmod(0o600)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(_SCHEMA)
    return database
