"""The antivirus scan: starts the scanning process and does with each finding what the policy says.

A file on the indicator list is reported, and taken where its action is `BlockAndRemediate`. One that a YARA
rule matches is reported, and taken where the rule's metadata says `action = "quarantine"`.
"""

import json
import logging
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shieldwall_agent.enforcement.policy import PolicyStore
from shieldwall_agent.enforcement.reports import file_event, name_account
from shieldwall_agent.events import Event, Sink, timestamp
from shieldwall_agent.executor import Failed, Outcome
from shieldwall_agent.responses.live_response import Fetch
from shieldwall_agent.responses.quarantine import Quarantine

LONGEST = 7 * 3600.0  # seconds; the scanning process bounds itself before
MOST_TOLD = 100  # findings in the action's result; every one is an event
LARGEST_LINE = 64 * 1024
MOST_RULE_FILES = 100

_HASH_COLUMNS = {"FileSha256": "SHA256", "FileSha1": "SHA1", "FileMd5": "MD5"}

log = logging.getLogger(__name__)


class Scanner:
    """`roots`: scan only these folders; for trials."""

    def __init__(
        self,
        folder: Path,
        policy: PolicyStore,
        quarantine: Quarantine,
        sink: Sink,
        fetch: Fetch,
        roots: Sequence[Path] = (),
    ) -> None:
        self._folder = folder
        self._policy = policy
        self._quarantine = quarantine
        self._sink = sink
        self._fetch = fetch
        self._roots = roots

    def run(self, body: dict[str, Any], cancelled: threading.Event) -> Outcome:
        """Raises Failed, with what was found until then, when it was cancelled or the process ended badly."""
        rules, errors = self._rules(body)
        order = {
            "scope": body.get("scope", "Quick"),
            "roots": [str(root) for root in self._roots],
            "folder": str(self._folder),
            "rules": rules,
        }
        detections: list[dict[str, Any]] = []
        result: dict[str, Any] = {"scope": order["scope"], "detections": detections, "rule_errors": errors}
        try:
            for line in _lines(order, cancelled):
                if found := line.get("found"):
                    told = self._detected(found)
                    if told and len(detections) < MOST_TOLD:
                        detections.append(told)
                elif "rule_error" in line:
                    errors.append(line["rule_error"])
                elif "done" in line:
                    result |= line["done"]
        except RuntimeError as error:
            raise Failed(str(error), Outcome(result)) from error
        self._report(result)
        return Outcome(result)

    def _rules(self, body: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
        """YARA sources by file name, and what could not be had."""
        rules: dict[str, str] = {}
        errors: list[str] = []
        for file in list(body.get("rules") or ())[:MOST_RULE_FILES]:
            name = str(file.get("name"))[:200]
            try:
                content = self._fetch(str(body.get("id", "")), file)
                rules[name] = content.decode()
            except Exception as error:
                errors.append(f"{name}: {error}"[:500])
        return rules, errors

    def _detected(self, found: dict[str, Any]) -> dict[str, Any] | None:
        """Report and remediate one file; None when the list has changed and it is not listed any more."""
        path, hashes = str(found["path"]), dict(found["hashes"])
        indicator = self._policy.file_rule(hashes)
        if "indicator" in found:
            if indicator is None or indicator.action == "Allowed":
                return None
            remediate, name = indicator.action == "BlockAndRemediate", indicator.title
            event = file_event(indicator, path, hashes, int(found["size"]))
        else:
            remediate = str(found["meta"].get("action", "")).lower() in ("quarantine", "blockandremediate")
            name = str(found["rule"])
            event = _rule_event(found, path, hashes)
        taken = self._take(hashes["FileSha256"], path, name) if remediate else False
        event["AdditionalFields"] |= {"WasRemediated": taken, "Source": "Scan"}
        self._sink.emit(name_account(event))
        return {
            "path": path[:1000],
            "sha1": hashes["FileSha1"],
            "sha256": hashes["FileSha256"],
            "name": name[:200],
            "rule": found.get("rule"),
            "remediated": taken,
        }

    def _take(self, digest: str, path: str, reason: str) -> bool:
        try:
            result = self._quarantine.stop_and_quarantine(digest, [path], f"scan: {reason}"[:200])
        except (ValueError, RuntimeError, OSError) as error:
            log.warning("%s was not quarantined: %s", path, error)
            return False
        return bool(result.quarantined)

    def _report(self, result: dict[str, Any]) -> None:
        complete = bool(result.get("complete"))
        self._sink.emit(
            {
                "Table": "DeviceEvents",
                "Timestamp": timestamp(),
                "ActionType": "AntivirusScanCompleted" if complete else "AntivirusScanCancelled",
                "AdditionalFields": {
                    "ScanTypeIndex": result["scope"],
                    "Scanned": result.get("scanned", 0),
                    "Found": result.get("found", 0),
                },
            }
        )


def _rule_event(found: dict[str, Any], path: str, hashes: dict[str, str]) -> Event:
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(),
        "ActionType": "AntivirusDetection",
        "FileName": path.rpartition("/")[2],
        "FolderPath": path,
        "FileSize": int(found["size"]),
        **{_HASH_COLUMNS[kind]: value for kind, value in hashes.items()},
        "AdditionalFields": {
            "ThreatName": f"YARA:Linux/{found['rule']}",
            "Rules": list(found["rules"]),
            "WasExecutingWhileDetected": False,
        },
    }


def _lines(order: dict[str, Any], cancelled: threading.Event) -> Iterator[dict[str, Any]]:
    """What the scanning process says. Raises RuntimeError when it is cancelled or does not end well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shieldwall_agent.responses.scanner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = time.monotonic() + LONGEST
    finished = False
    try:
        with process.stdin:
            process.stdin.write(json.dumps(order).encode())
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if cancelled.is_set():
                    raise RuntimeError("cancelled; what was quarantined until then stays so")
                if time.monotonic() > deadline:
                    raise RuntimeError("the scan took too long")
                if not selector.select(0.5):
                    continue
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LARGEST_LINE:
                    raise RuntimeError("the scanning process said something endless")
                for text in lines:
                    line = json.loads(text)
                    finished = finished or "done" in line
                    yield line
        if process.wait(10) or not finished:
            raise RuntimeError(f"the scanning process ended with {process.returncode}")
    except BrokenPipeError:
        raise RuntimeError("the scanning process did not start") from None
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()
