"""Stop and quarantine: every process of a file is killed and every known copy goes to the vault."""

import hashlib
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from shieldwall_agent.enforcement.file_identity import FileKey, protected_files
from shieldwall_agent.events import Sink, timestamp
from shieldwall_agent.responses.processes import Image, images, kill_trees
from shieldwall_agent.responses.vault import Item, Vault, VaultError

MOST_KNOWN = 20_000
_ALGORITHMS = {64: "sha256", 40: "sha1", 32: "md5"}

log = logging.getLogger(__name__)


@dataclass
class Result:
    processes_stopped: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class RunningImages:
    """Finds processes by the hash of the file they run; a file is hashed once in each of its states."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[FileKey, str], str] = {}

    def find(self, digests: Iterable[str]) -> dict[str, list[Image]]:
        """Images by digest (lower-case hex of SHA-256, SHA-1 or MD5), for those that run."""
        wanted = set(digests)
        algorithms = {_ALGORITHMS[len(digest)] for digest in wanted if len(digest) in _ALGORITHMS}
        found: dict[str, list[Image]] = {}
        with self._lock:
            for image in images():
                for algorithm in algorithms:
                    digest = self._digest(image.link, algorithm)
                    if digest in wanted:
                        found.setdefault(digest, []).append(image)
        return found

    def _digest(self, link: str, algorithm: str) -> str:
        try:
            with open(link, "rb", buffering=0) as file:
                key = (FileKey.of(os.fstat(file.fileno())), algorithm)
                if key not in self._known:
                    if len(self._known) >= MOST_KNOWN:
                        self._known.clear()
                    self._known[key] = hashlib.file_digest(file, algorithm).hexdigest()
                return self._known[key]
        except OSError:
            return ""


class Quarantine:
    def __init__(self, vault: Vault, running: RunningImages, sink: Sink) -> None:
        self._vault = vault
        self._running = running
        self._sink = sink

    def stop_and_quarantine(
        self,
        digest: str,
        paths: Iterable[str] = (),
        reason: str = "",
        cancelled: threading.Event | None = None,
    ) -> Result:
        """`paths`: where copies of the file are known to lie. A path that holds something else is left
        alone."""
        digest = digest.strip().lower()
        if len(digest) not in _ALGORITHMS or not all(c in "0123456789abcdef" for c in digest):
            raise ValueError("not a file hash")
        result = Result()
        running = self._running.find([digest]).get(digest, [])
        result.processes_stopped = _stop(running)
        places = dict.fromkeys([*(image.path for image in running), *paths])
        for path in places:
            if cancelled is not None and cancelled.is_set():
                raise RuntimeError("cancelled; what was quarantined until then stays so")
            self._take(path, digest, reason, result)
        return result

    def remediate(self, found: dict[str, Any], reason: str) -> Result:
        """Kill what runs a file that the gate found, whatever its name is by now, and quarantine the file."""
        place = (int(found["device"]), int(found["inode"]))
        result = Result()
        result.processes_stopped = _stop(i for i in images() if (i.device, i.inode) == place)
        hashes = found["hashes"]
        self._take(
            str(found["path"]), str(hashes.get("FileSha256") or hashes.get("FileSha1")), reason, result
        )
        return result

    def stop_running(self, found: dict[str, Any]) -> int:
        place = (int(found["device"]), int(found["inode"]))
        return _stop(i for i in images() if (i.device, i.inode) == place)

    def restore(self, item_id: str) -> str:
        path = self._vault.restore(item_id)
        self._report(
            "FileRestoredFromQuarantine", {"FolderPath": path, "FileName": os.path.basename(path)}, item_id
        )
        return path

    def _take(self, path: str, digest: str, reason: str, result: Result) -> None:
        try:
            status = os.stat(path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) in protected_files():
                raise VaultError("the agent or init needs this file")
            item = self._vault.take(path, reason, expected_digest=digest)
        except (VaultError, OSError) as error:
            if os.path.lexists(path):
                log.warning("%s was not quarantined: %s", path, error)
                result.failed.append({"path": path, "reason": str(error)})
            return
        result.quarantined.append(
            {"vault_id": item.id, "path": item.path, "sha256": item.sha256, "size": item.size}
        )
        self._report("FileQuarantined", _columns(item), item.id)

    def _report(self, action: str, columns: dict[str, Any], item_id: str) -> None:
        self._sink.emit(
            {
                "Table": "DeviceEvents",
                "Timestamp": timestamp(),
                "ActionType": action,
                **columns,
                "AdditionalFields": {"VaultId": item_id, "WasRemediated": action == "FileQuarantined"},
            }
        )


def _stop(running: Iterable[Image]) -> int:
    """Kill these; not what the agent or init runs too: an interpreter's hash would take half the machine."""
    keep = protected_files()
    return kill_trees({image.process for image in running if (image.device, image.inode) not in keep})


def _columns(item: Item) -> dict[str, Any]:
    return {
        "FolderPath": item.path,
        "FileName": os.path.basename(item.path),
        "FileSize": item.size,
        "SHA1": item.sha1,
        "SHA256": item.sha256,
        "MD5": item.md5,
    }
