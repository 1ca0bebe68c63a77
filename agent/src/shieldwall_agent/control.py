"""What the responder process enforces: the indicator list, isolation, and the server's commands on files."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement import restriction
from shieldwall_agent.enforcement.gate_client import GateClient
from shieldwall_agent.enforcement.isolation import Isolation
from shieldwall_agent.enforcement.network import NetworkEnforcement
from shieldwall_agent.enforcement.policy import HASH_LENGTHS, Changes, Indicator, PolicyStore
from shieldwall_agent.enforcement.reports import file_event, name_account
from shieldwall_agent.events import Sink, timestamp
from shieldwall_agent.executor import Handler, Outcome
from shieldwall_agent.remote_sink import paths_of
from shieldwall_agent.responses.live_response import LiveResponse, fetched
from shieldwall_agent.responses.quarantine import Quarantine, RunningImages
from shieldwall_agent.responses.scan import Scanner
from shieldwall_agent.responses.vault import Vault

EXPIRY_SECONDS = 5.0  # longest time that an expired indicator stays in the list; it never matches

log = logging.getLogger(__name__)


class Control:
    """`gated`: whether we may enforce at all and a gate process runs; it needs privileges."""

    def __init__(
        self,
        folder: Path,
        server: tuple[str, int],
        sink: Sink,
        gated: bool,
        isolate_netns: str | None = None,
        only_under: Path | None = None,
        download: Callable[[str], bytes] | None = None,
    ) -> None:
        self._folder = folder
        self._sink = sink
        self.policy = PolicyStore(folder)
        self.isolation = Isolation(folder, server, sink, isolate_netns)
        self._only_under = only_under
        self._running = RunningImages()
        self._quarantine = Quarantine(Vault(folder / "vault"), self._running, sink)
        self._network = NetworkEnforcement(self.policy, sink) if gated else None
        self._gate = GateClient(folder, self._found) if gated else None
        fetch = partial(fetched, download or _nowhere)
        roots = [] if only_under is None else [only_under]
        self._live_response = LiveResponse(folder / "live_response", fetch)
        self._scanner = Scanner(folder, self.policy, self._quarantine, sink, fetch, roots)
        self._stopping = threading.Event()
        self._changes: queue.SimpleQueue[Changes] = queue.SimpleQueue()
        self.policy.listen(self._changed)

    def start(self) -> None:
        self.isolation.start()
        self._live_response.clean()
        if self._network is not None:
            self._network.start()
        for work in (self._expire, self._remediate_running):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()

    def stop(self) -> None:
        """End what this process enforces. An isolation stays."""
        self._stopping.set()
        if self._network is not None:
            self._network.stop()
        self.isolation.stop()
        if self._gate is not None:
            self._gate.close()

    def apply_indicators(self, body: dict[str, Any]) -> None:
        """Raises RevisionGap or ValueError."""
        changes = self.policy.apply_delta(body)
        for indicator_id, reason in changes.rejected:
            log.warning("indicator %s cannot be enforced here: %s", indicator_id, reason)

    def health(self) -> dict[str, Any]:
        return self._network.health() if self._network is not None else {}

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "isolate": self._isolate,
            "unisolate": self._unisolate,
            "stop_and_quarantine": self._stop_and_quarantine,
            "restore_file": self._restore,
            "collect_package": self._collect,
            "collect_logs": self._collect_logs,
            "restrict": self._restrict,
            "unrestrict": self._unrestrict,
            "scan": lambda body, cancelled: self._scanner.run(body, cancelled),
            "live_response": self._respond,
            "offboard": self._offboard,
        }

    def _changed(self, changes: Changes) -> None:
        if self._gate is not None:
            self._gate.changed()
        self._changes.put(changes)

    def _expire(self) -> None:
        while not self._stopping.wait(EXPIRY_SECONDS):
            if (self.policy.next_expiry() or time.time() + 1) <= time.time():
                self.policy.expire()

    def _remediate_running(self) -> None:
        """What already runs when its hash comes onto the list is stopped and taken too."""
        while True:
            digests = {
                indicator.value: indicator
                for indicator in self._changes.get().upserted
                if indicator.action == "BlockAndRemediate" and indicator.type in HASH_LENGTHS
            }
            for digest in self._running.find(digests) if digests else ():
                self._remediate(digests[digest])

    def _remediate(self, indicator: Indicator) -> None:
        """Stop and take a listed file that runs, with the event that refusing it would have been."""
        # Looked for again: under another of its hashes the file may just have been dealt with.
        images = self._running.find([indicator.value]).get(indicator.value, [])
        if not images:
            return
        events = [  # made first: of a killed process nothing can be read
            file_event(
                indicator,
                image.path,
                {indicator.type: indicator.value},
                image.size,
                image.process.pid,
                executing=True,
            )
            for image in images
        ]
        result = self._quarantine.stop_and_quarantine(indicator.value, reason=indicator.title)
        log.warning("listed file %s was running: %s", indicator.value, result.as_dict())
        for event in events:
            event["AdditionalFields"]["WasRemediated"] = result.processes_stopped > 0
            self._sink.emit(name_account(event))

    def _found(self, found: dict[str, Any]) -> None:
        """News of the gate: a bad file that may be running, or is to be remediated."""
        try:
            rule = self.policy.file_rule(found["hashes"])
            if rule is not None and rule.action == "BlockAndRemediate":
                self._quarantine.remediate(found, rule.title)
            elif rule is not None and rule.denies and found.get("late"):
                self._quarantine.stop_running(found)
        except Exception:
            log.exception("a file that the gate found was not dealt with")

    def _isolate(self, body: dict[str, Any], _: threading.Event) -> Outcome:
        self.isolation.isolate(str(body.get("scope") or "Full"), [str(a) for a in body.get("allow") or ()])
        return Outcome({"isolated": True})

    def _unisolate(self, _body: dict[str, Any], _: threading.Event) -> Outcome:
        return Outcome({"isolated": False, "was_isolated": self.isolation.release()})

    def _stop_and_quarantine(self, body: dict[str, Any], cancelled: threading.Event) -> Outcome:
        sha1 = str(body.get("sha1", "")).strip().lower()
        result = self._quarantine.stop_and_quarantine(
            sha1, paths_of(self._folder, sha1), "stop and quarantine", cancelled
        )
        if result.failed:
            raise RuntimeError("; ".join(f"{entry['path']}: {entry['reason']}" for entry in result.failed))
        if not result.quarantined and not result.processes_stopped:
            raise RuntimeError("no file with this hash is known on the device")
        return Outcome(result.as_dict())

    def _restore(self, body: dict[str, Any], _: threading.Event) -> Outcome:
        return Outcome({"path": self._quarantine.restore(str(body.get("vault_id", "")))})

    def _collect(self, _body: dict[str, Any], cancelled: threading.Event) -> Outcome:
        from shieldwall_agent.responses import package  # large, and seldom needed

        target = self._folder / "packages" / f"{time.time_ns()}.zip"
        items = package.collect(target, cancelled)
        return Outcome({"items": len(items), "failed": sum(s.status == "Failed" for s in items)}, target)

    def _collect_logs(self, _body: dict[str, Any], cancelled: threading.Event) -> Outcome:
        from shieldwall_agent.responses import own_logs, package

        target = self._folder / "packages" / f"{time.time_ns()}.zip"
        items = package.collect(target, cancelled, own_logs.items(self._folder))
        return Outcome({"items": len(items)}, target)

    def _respond(self, body: dict[str, Any], cancelled: threading.Event) -> Outcome:
        return self._live_response.run(body, self._folder / "results" / str(time.time_ns()), cancelled)

    def _restrict(self, _body: dict[str, Any], _: threading.Event) -> Outcome:
        if self._gate is None or not self._gate.wait_connected(5):
            raise RuntimeError("no gate runs on this device that could refuse executions")
        restriction.order(self._folder, time.time_ns(), within=self._only_under)
        if not self._gate.changed(wait=10):
            restriction.lift(self._folder)
            self._gate.changed()
            raise RuntimeError("the gate did not take the order")
        self._report_restriction("AppExecutionRestricted")
        return Outcome({"restricted": True})

    def _unrestrict(self, _body: dict[str, Any], _: threading.Event) -> Outcome:
        return Outcome({"restricted": False, "was_restricted": self._lift_restriction()})

    def _lift_restriction(self) -> bool:
        was = restriction.lift(self._folder)
        if self._gate is not None:
            self._gate.changed(wait=10)
        if was:
            self._report_restriction("AppExecutionUnrestricted")
        return was

    def _report_restriction(self, action: str) -> None:
        self._sink.emit(
            {"Table": "DeviceEvents", "Timestamp": timestamp(), "ActionType": action, "AdditionalFields": {}}
        )

    def _offboard(self, _body: dict[str, Any], _: threading.Event) -> Outcome:
        """Enforce nothing any more. The rest of the agent ends when the server knows of it."""
        self.isolation.release("offboarding")
        self._lift_restriction()
        revision = self.policy.revision
        self.policy.apply_delta({"from": revision, "to": revision, "full": True, "upsert": []})
        return Outcome({"offboarded": True})


def _nowhere(_: str) -> bytes:
    raise RuntimeError("there is no server to fetch it from")
