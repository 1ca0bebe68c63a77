"""The investigation package: a zip of what a responder first wants to know of a Linux device.

Each item is bounded in time and size, and one that fails leaves its reason in the summary instead of
failing the package.
"""

import csv
import io
import json
import logging
import os
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from shieldwall_agent.events import timestamp
from shieldwall_agent.responses.package_items import ITEMS, Item, Output

LARGEST_ITEM = 16 * 1024 * 1024  # bytes
ITEM_SECONDS = 30.0
SUMMARY = "CollectionSummaryReport.csv"

log = logging.getLogger(__name__)


class Cancelled(RuntimeError):
    """The collection was cancelled; there is no package."""


@dataclass
class Status:
    item: str
    source: str
    status: str  # Success, Truncated, NotAvailable, Failed
    detail: str
    bytes: int
    seconds: float


def collect(target: Path, cancelled: threading.Event, items: Iterable[Item] = ITEMS) -> list[Status]:
    """Write the package to `target` (0600). Raises Cancelled or OSError, with no file left."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    statuses: list[Status] = []
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
            for item in items:
                if cancelled.is_set():
                    raise Cancelled("cancelled")
                statuses.append(_add(package, item, cancelled))
            if cancelled.is_set():
                raise Cancelled("cancelled")
            package.writestr(SUMMARY, _summary(statuses))
            package.writestr(
                "CollectionSummaryReport.json", json.dumps([asdict(s) for s in statuses], indent=1)
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return statuses


def _add(package: zipfile.ZipFile, item: Item, cancelled: threading.Event) -> Status:
    started = time.monotonic()
    try:
        source = item.source
        output = _bounded(source) if callable(source) else _command(source, cancelled)
    except FileNotFoundError as error:
        output = Output(b"", "NotAvailable", str(error))
    except Exception as error:
        output = Output(b"", "Failed", f"{type(error).__name__}: {error}")
    if len(output.data) > LARGEST_ITEM:
        output = Output(output.data[:LARGEST_ITEM], "Truncated", f"longer than {LARGEST_ITEM} bytes")
    if output.data:
        package.writestr(item.name, output.data)
    elapsed = round(time.monotonic() - started, 3)
    return Status(item.name, item.described, output.status, output.detail, len(output.data), elapsed)


def _command(command: tuple[str, ...], cancelled: threading.Event) -> Output:
    """What a command writes, run with the lowest priority; killed at the bounds of time and size."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        start_new_session=True,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, 19)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    data = bytearray()
    deadline = time.monotonic() + ITEM_SECONDS
    status, detail = "Success", ""
    try:
        while True:
            chunk = process.stdout.read(65536)
            if chunk:
                data += chunk
            elif chunk == b"":
                break
            if cancelled.is_set() or time.monotonic() > deadline or len(data) > LARGEST_ITEM:
                status, detail = "Truncated", "stopped at its bound of time or size"
                break
            if chunk is None:
                time.sleep(0.01)
    finally:
        if status == "Truncated":
            process.kill()
        code = process.wait(ITEM_SECONDS)
        process.stdout.close()
    if status == "Success" and code:
        status, detail = ("Failed", f"exit code {code}")
    return Output(bytes(data), status, detail)


def _bounded(source: Callable[[], Output]) -> Output:
    """A reading of ours in a thread that is left behind when it takes too long (a hung network mount)."""
    results: list[Output] = []
    errors: list[Exception] = []

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            results.append(source())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(ITEM_SECONDS)
    if errors:
        raise errors[0]
    if not results:
        return Output(b"", "Truncated", f"took longer than {ITEM_SECONDS:.0f} s")
    return results[0]


def _summary(statuses: Iterable[Status]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["Collected", timestamp()])
    writer.writerow(["Item", "Source", "Status", "Detail", "Bytes", "Seconds"])
    for s in statuses:
        writer.writerow([s.item, s.source, s.status, s.detail, s.bytes, s.seconds])
    return text.getvalue()
