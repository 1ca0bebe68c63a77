"""Live response: puts files of the server's library here, runs scripts of it, fetches files.

All of it comes in one message that the server signed, which names each file by its SHA-256, so nobody
between us can exchange a script. Scripts run as the agent's user, in a folder of their own, within bounds of
CPU time, wall time, file size and output. The first command that fails ends the session; results are files
in a folder whose names are the commands' numbers.
"""

import gzip
import hashlib
import json
import logging
import os
import re
import selectors
import shlex
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shieldwall_agent.events import timestamp
from shieldwall_agent.executor import Failed, Outcome

LARGEST_FILE = 512 * 1024 * 1024  # bytes that GetFile fetches
LARGEST_LIBRARY_FILE = 20 * 1024 * 1024
LARGEST_OUTPUT = 4 * 1024 * 1024  # bytes of each of a script's two outputs
LARGEST_WRITTEN = 1024 * 1024 * 1024  # bytes of a file that a script writes
LONGEST_SCRIPT = 600.0  # seconds of wall time
MOST_CPU = 300  # seconds
SPARE_BYTES = 256 * 1024 * 1024  # left free on the disk
MOST_COMMANDS = 50

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_LIMITS = 'ulimit -t "$1"; ulimit -f "$2"; ulimit -c 0; shift 2; exec "$@"'  # then nothing can raise them
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                "LC_ALL": "C.UTF-8"}  # fmt: skip

log = logging.getLogger(__name__)

Fetch = Callable[[str, dict[str, Any]], bytes]
"""Content of a library file, by the action's id and the file as the signed message names it (`fetched`)."""


def fetched(download: Callable[[str], bytes], action: str, file: dict[str, Any]) -> bytes:
    """What `download` gets from the server, if it is the file that is meant; raises ValueError."""
    digest = str(file.get("sha256"))
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("not a SHA-256")
    content = download(f"/agent/v1/actions/{action}/files/{digest}")
    if len(content) > LARGEST_LIBRARY_FILE or hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"what the server sent is not {str(file.get('name'))[:80]}")
    return content


class Cancelled(RuntimeError):
    """The session was cancelled."""


class LiveResponse:
    """`folder`: where put files and scripts lie, for the agent's user only."""

    def __init__(self, folder: Path, fetch: Fetch) -> None:
        self._folder = folder
        self._fetch = fetch

    def clean(self) -> None:
        """Remove what earlier sessions put here; results still to be uploaded lie elsewhere."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, body: dict[str, Any], results: Path, cancelled: threading.Event) -> Outcome:
        """Run the commands of a message. Raises Failed, with the outcome so far, when one of them fails."""
        commands = list(body.get("commands") or ())[:MOST_COMMANDS]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        results.mkdir(mode=0o700, parents=True)
        told: list[dict[str, Any]] = []
        for index, command in enumerate(commands):
            entry: dict[str, Any] = {"index": index, "started": timestamp()}
            told.append(entry)
            try:
                if cancelled.is_set():
                    raise Cancelled("cancelled")
                self._step(str(body.get("id", "")), command, results / str(index), cancelled)
            except Exception as error:
                log.warning("live response command %d failed: %s", index, error)
                entry |= {"status": "Failed", "error": str(error)[:1000] or type(error).__name__}
                entry["ended"] = timestamp()
                outcome = Outcome({"commands": told}, results)
                raise Failed(f"command {index} failed: {entry['error']}", outcome) from error
            entry |= {"status": "Completed", "ended": timestamp()}
        return Outcome({"commands": told}, results)

    def _step(self, action: str, command: dict[str, Any], result: Path, cancelled: threading.Event) -> None:
        kind = command["type"]
        if kind == "PutFile":
            self._put(action, command["file"], 0o600)
        elif kind == "RunScript":
            script = self._put(action, command["file"], 0o700)
            seconds = min(float(command.get("seconds", LONGEST_SCRIPT)), LONGEST_SCRIPT)
            run_script(script, str(command.get("args", "")), seconds, result, cancelled)
        elif kind == "GetFile":
            get_file(str(command["path"]), result, cancelled)
        else:
            raise ValueError(f"unknown command {str(kind)[:40]!r}")

    def _put(self, action: str, file: dict[str, Any], mode: int) -> Path:
        name = str(file["name"])
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a file name: {name[:80]!r}")
        content = self._fetch(action, file)
        _spare(self._folder, len(content))
        path = self._folder / name
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as target:
            target.write(content)
            os.fchmod(fd, mode)
        return path


def run_script(
    script: Path, arguments: str, seconds: float, result: Path, cancelled: threading.Event
) -> None:
    """Run a script and write its transcript to `result`. A script that ends with an error has still run."""
    command = [str(script)] if _has_interpreter(script) else ["/bin/sh", str(script)]
    limits = [str(MOST_CPU), str(LARGEST_WRITTEN // 512)]
    process = subprocess.Popen(
        ["/bin/sh", "-c", _LIMITS, "sh", *limits, *command, *shlex.split(arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=script.parent,
        env=_ENVIRONMENT,
        start_new_session=True,
    )
    try:
        output, errors, reason = _outputs(process, time.monotonic() + seconds, cancelled)
    finally:
        _end(process)
    transcript = {
        "script_name": script.name,
        "exit_code": process.returncode,
        "script_output": output,
        "script_errors": errors,
    }
    result.with_suffix(".json").write_text(json.dumps(transcript))
    if reason:
        raise RuntimeError(reason)


def _has_interpreter(script: Path) -> bool:
    with script.open("rb") as file:
        return file.read(4)[:2] in (b"#!", b"\x7fE")


def _outputs(
    process: "subprocess.Popen[bytes]", deadline: float, cancelled: threading.Event
) -> tuple[str, str, str]:
    """Both outputs, each cut at its bound, and why the script was stopped, if it was."""
    assert process.stdout is not None
    assert process.stderr is not None
    streams = (process.stdout, process.stderr)
    kept = (bytearray(), bytearray())
    reason = ""
    with selectors.DefaultSelector() as selector:
        for stream, content in zip(streams, kept, strict=True):
            selector.register(stream, selectors.EVENT_READ, content)
        while selector.get_map() and not reason:
            if cancelled.is_set():
                reason = "cancelled"
            elif time.monotonic() > deadline:
                reason = "the script took too long and was stopped"
            elif process.poll() is not None and not selector.select(0):
                break  # it has ended; what it left running holds the pipes
            for key, _ in selector.select(0.1):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                key.data.extend(chunk[: max(0, LARGEST_OUTPUT - len(key.data))])
    while not reason and process.poll() is None:
        if cancelled.wait(0.05):
            reason = "cancelled"
        elif time.monotonic() > deadline:
            reason = "the script took too long and was stopped"
    texts = [bytes(content).decode(errors="replace") for content in kept]
    return texts[0], texts[1], reason


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Whatever the script's session still runs is killed."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    process.wait(10)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def get_file(path: str, result: Path, cancelled: threading.Event) -> None:
    """Pack a regular file into `result`.gz. Raises ValueError for what is not one, or too large, or empty."""
    if not path.startswith("/"):
        raise ValueError("the path must begin with /")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    try:
        size = _size_of_regular(fd, path)
        _spare(result.parent, size)
        target = result.with_suffix(".gz")
        with target.open("wb") as raw, gzip.GzipFile(os.path.basename(path), "wb", 6, raw) as packed:
            left = LARGEST_FILE
            while left > 0 and (chunk := os.read(fd, min(left, 256 * 1024))):
                if cancelled.is_set():
                    raise Cancelled("cancelled")
                packed.write(chunk)
                left -= len(chunk)
    finally:
        os.close(fd)


def _size_of_regular(fd: int, path: str) -> int:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file")
    if not status.st_size:
        raise ValueError(f"{path} is empty")
    if status.st_size > LARGEST_FILE:
        raise ValueError(f"{path} has more than {LARGEST_FILE} bytes")
    return status.st_size


def _spare(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed + SPARE_BYTES:
        raise OSError("the disk is too full")
