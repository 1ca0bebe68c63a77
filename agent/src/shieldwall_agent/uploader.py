"""Takes batches from the spool to the server, one at a time and in order."""

import gzip
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from shieldwall_agent.events import Event, events_lost
from shieldwall_agent.spool_reader import Batch, SpoolReader
from shieldwall_agent.transport import Answer, Client, Pause, Refused, Unreachable

# Seconds from one small batch to the next; a lone one goes at once. Each costs two milliseconds of CPU.
SHORTEST_INTERVAL = 0.95
POLL_SECONDS = 5.0  # how often the spool is looked into though nobody woke us

log = logging.getLogger(__name__)


@dataclass
class UploadCounters:
    sent: int = 0  # rows, once for each try
    acknowledged: int = 0
    rejected: int = 0
    lost: int = 0  # in this spool's whole life
    batches: int = 0
    last_contact: float = 0.0  # unix seconds
    last_error: str = ""


class Uploader:
    """`wait` blocks up to the seconds given, or until the spool's writer reports something new."""

    def __init__(
        self,
        client: Client,
        reader: SpoolReader,
        wait: Callable[[float], None],
        emit: Callable[[Event], None],
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._reader = reader
        self._wait = wait
        self._emit = emit
        self._stop = stop
        self._pause = Pause(first=0.5)
        self._counters = UploadCounters(lost=reader.lost)

    def counters(self) -> dict[str, object]:
        return asdict(self._counters)

    def run(self) -> None:
        """Until `stop` is set."""
        while not self._stop.is_set():
            started = time.monotonic()
            batch = self._reader.take()
            self._report_losses()
            if batch is None:
                self._wait(POLL_SECONDS)
                continue
            self._stop.wait(self.send(batch))
            if batch.rows < self._reader.batch_rows // 10:
                self._stop.wait(max(0.0, started + SHORTEST_INTERVAL - time.monotonic()))

    def send(self, batch: Batch) -> float:
        """One try at one batch. Returns the seconds to wait before the next."""
        self._counters.sent += batch.rows
        self._counters.batches += 1
        try:
            answer = self._client.request(
                "POST",
                "/agent/v1/events",
                gzip.compress(batch.body, 1, mtime=0),
                {
                    "X-Shieldwall-Batch": f"{batch.stream}:{batch.sequence}",
                    "Content-Encoding": "gzip",
                    "Content-Type": "application/x-ndjson",
                },
            )
        except Unreachable as error:
            self._counters.last_error = str(error)
            return self._pause.next()
        except Refused as refusal:
            self._counters.last_error = str(refusal)
            return self._refused(batch, refusal)
        self._pause.reset()
        self._counters.last_contact = time.time()
        self._counters.last_error = ""
        self._accepted(batch, answer)
        return 0.0

    def _accepted(self, batch: Batch, answer: Answer) -> None:
        try:
            result = json.loads(answer.body)
            duplicate, rejected = bool(result["duplicate"]), len(result.get("rejected", ()))
        except (ValueError, KeyError, TypeError):
            duplicate, rejected = False, 0
        if duplicate and not batch.resent:
            log.warning(
                "the server knows stream %s further than this spool; starting a new one", batch.stream
            )
            self._reader.renew_stream()
            return
        self._counters.acknowledged += batch.rows - rejected
        self._counters.rejected += rejected
        if rejected:
            log.warning("the server rejected %d of %d events", rejected, batch.rows)
        self._reader.acknowledge()

    def _refused(self, batch: Batch, refusal: Refused) -> float:
        if refusal.status == 413 or (refusal.status == 400 and refusal.code):
            # Nothing of it was stored. Down to one row, so that only what cannot be taken is given up.
            if not self._reader.halve():
                log.error("the server refuses an event for good: %s", refusal)
                self._counters.rejected += 1
                self._reader.acknowledge()
            return 0.0
        wait = self._pause.next(refusal.retry_after)
        log.warning("batch refused, trying again in %.0f s: %s", wait, refusal)
        return max(wait, 60.0) if refusal.code == "DeviceRevoked" else wait

    def _report_losses(self) -> None:
        lost = self._reader.take_lost()
        if lost:
            self._counters.lost += lost
            self._emit(events_lost("spool", lost, "dropped before the server had them"))
