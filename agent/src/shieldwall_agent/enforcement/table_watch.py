"""Watching over one nftables table, which a firewall's `flush ruleset` or anybody with root can take away."""

import errno
import logging
import select
import socket
import threading
from collections.abc import Callable

from shieldwall_agent.enforcement import nft

CHECK_SECONDS = 30.0  # beside the kernel's news of changes, which a full socket can lose
_LARGEST = 65536  # bytes of one piece of news

log = logging.getLogger(__name__)


class TableWatch:
    """Calls `check` whenever the kernel tells of a change of the table, and every CHECK_SECONDS.

    `check` is told whether the time has come to look thoroughly; what it raises is logged. It puts the table
    back itself.
    """

    def __init__(self, table: str, check: Callable[[bool], object], netns: str | None = None) -> None:
        self._table = table
        self._check = check
        self._stopping = threading.Event()
        # Opened before the first check, so that no change is missed between the two.
        self._news = nft.monitor(netns)
        self._thread = threading.Thread(target=self._run, name=f"watch {table}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The table stays as it is."""
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._news, select.POLLIN)
        waited = 0.0
        while not self._stopping.is_set():
            concerned = bool(poll.poll(500)) and self._concerned()
            waited += 0.5
            thorough = waited >= CHECK_SECONDS
            if not (concerned or thorough):
                continue
            if thorough:
                waited = 0.0
            try:
                self._check(thorough)
            except Exception:
                log.exception("the table %s could not be checked", self._table)
        self._news.close()

    def _concerned(self) -> bool:
        """Whether what the kernel has told since is about our table; other firewalls change theirs often."""
        name = self._table.encode() + b"\0"
        found = False
        while True:
            try:
                told = self._news.recv(_LARGEST, socket.MSG_DONTWAIT)
            except OSError as error:
                # Anything but "no more" means that some was lost.
                return found or error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK)
            found = found or name in told or len(told) == _LARGEST
