"""The long poll: receives messages, refuses what is not the server's, hands on the rest."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from shieldwall_agent.commands import BadMessage, Journal, Message, open_message
from shieldwall_agent.identity import Clock
from shieldwall_agent.transport import Client, Pause, Refused, Unreachable

WAIT_SECONDS = 50
USELESS_SECONDS = 1.0  # pause after an answer of which nothing could be used, so as not to spin
MOST_MESSAGES = 1_000  # of one answer

log = logging.getLogger(__name__)


@dataclass
class ChannelCounters:
    polls: int = 0
    messages: int = 0
    refused: int = 0
    last_contact: float = 0.0  # unix seconds
    last_error: str = ""
    revoked: bool = False


class Channel:
    """`indicators` applies a delta; `dispatch` starts a new command and must return at once."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        command_key: str,
        device_id: str,
        journal: Journal,
        revision: Callable[[], int],
        isolated: Callable[[], bool],
        indicators: Callable[[dict[str, Any]], None],
        dispatch: Callable[[Message], None],
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._clock = clock
        self._command_key = command_key
        self._device_id = device_id
        self._journal = journal
        self._revision = revision
        self._isolated = isolated
        self._indicators = indicators
        self._dispatch = dispatch
        self._stop = stop
        self._pause = Pause()
        self._counters = ChannelCounters()

    def counters(self) -> dict[str, object]:
        return asdict(self._counters)

    def run(self) -> None:
        """Until `stop` is set."""
        while not self._stop.is_set():
            try:
                # The first is short, so that it is soon known whether the server answers.
                pause = self.poll(WAIT_SECONDS if self._counters.polls else 1)
                self._journal.forget_expired(self._clock.now())
            except sqlite3.Error as error:  # a full disk; without the journal nothing is obeyed
                self._counters.last_error = f"journal: {error}"
                pause = self._pause.next()
            self._stop.wait(pause)

    def poll(self, wait: int) -> float:
        """One long poll. Returns the seconds to wait before the next."""
        target = (
            f"/agent/v1/messages?revision={self._revision()}&isolated={int(self._isolated())}&wait={wait}"
        )
        self._counters.polls += 1
        try:
            answer = self._client.request("GET", target, timeout=wait + 15)
        except Unreachable as error:
            self._counters.last_error = str(error)
            return self._pause.next()
        except Refused as refusal:
            self._counters.last_error = str(refusal)
            self._counters.revoked = refusal.code == "DeviceRevoked"
            pause = self._pause.next(refusal.retry_after)
            return max(pause, 60.0) if self._counters.revoked else pause
        self._counters.last_contact = time.time()
        self._counters.last_error = ""
        self._counters.revoked = False
        if answer.status != 204 and not self._take_all(answer.body):
            self._pause.reset()
            return USELESS_SECONDS
        self._pause.reset()
        return 0.0

    def _take_all(self, body: bytes) -> bool:
        try:
            envelopes = json.loads(body)["messages"][:MOST_MESSAGES]
        except (ValueError, KeyError, TypeError):
            self._counters.last_error = "the answer is no list of messages"
            return False
        taken = [self._take(envelope) for envelope in envelopes]
        return any(taken)

    def _take(self, envelope: Any) -> bool:
        try:
            message = open_message(envelope, self._command_key, self._device_id, self._clock.now())
            if not self._journal.accept(message):
                self._journal.report_again(message.id)
                raise BadMessage("its id is known already")
        except BadMessage as error:
            self._counters.refused += 1
            log.warning("message refused: %s", error)
            return False
        self._counters.messages += 1
        if message.type != "indicators":
            self._dispatch(message)
            return True
        try:
            self._indicators(message.body)
        except Exception as error:
            # The revision has not moved, so the server sends the change again, under another id.
            log.exception("indicators could not be applied")
            self._counters.last_error = f"indicators: {error}"
            return False
        return True
