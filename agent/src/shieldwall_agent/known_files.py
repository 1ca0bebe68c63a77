"""Where files with a given SHA-1 were last seen on this device, learned from the events that pass by.

A server names a file to quarantine by its hash only; this is how the agent finds copies that are not running.
"""

import collections
import contextlib
import json
import threading
from pathlib import Path

from shieldwall_agent.events import Event, Sink
from shieldwall_agent.spool_format import write_atomically

MOST_FILES = 5_000
MOST_PATHS = 16  # of one file


class KnownFiles:
    """A sink that notes files and passes all on. Keeps what it knows over restarts, as of the last `save`."""

    def __init__(self, sink: Sink, path: Path) -> None:
        self._sink = sink
        self._path = path
        self._lock = threading.Lock()
        self._paths: collections.OrderedDict[str, list[str]] = collections.OrderedDict()
        self._changed = False
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._paths.update(json.loads(path.read_bytes()))

    def emit(self, event: Event) -> None:
        path, sha1 = event.get("FolderPath"), event.get("SHA1")
        if isinstance(path, str) and isinstance(sha1, str) and path.startswith("/") and len(sha1) == 40:
            self._note(sha1.lower(), path)
        self._sink.emit(event)

    def paths(self, sha1: str) -> list[str]:
        """Newest first."""
        with self._lock:
            return self._paths.get(sha1.lower(), [])[::-1]

    def save(self) -> None:
        """Raises OSError."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            content = json.dumps(self._paths).encode()
        write_atomically(self._path, content)

    def _note(self, sha1: str, path: str) -> None:
        with self._lock:
            paths = self._paths.get(sha1, [])
            self._paths[sha1] = paths
            self._paths.move_to_end(sha1)
            if paths and paths[-1] == path:
                return
            self._changed = True
            if path in paths:
                paths.remove(path)
            paths.append(path)
            del paths[:-MOST_PATHS]
            if len(self._paths) > MOST_FILES:
                self._paths.popitem(last=False)
