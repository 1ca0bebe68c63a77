"""Running nft, in the own network namespace or a named one. Each script is one transaction: all of it or
nothing."""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
TIMEOUT = 20.0  # seconds

_NETLINK_NETFILTER = 12
_GROUP_NFTABLES = 1 << (7 - 1)
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NftError(RuntimeError):
    """nft is missing or refused the script; nothing was changed."""


def load(script: str, netns: str | None = None) -> None:
    _run(["-f", "-"], script, netns)


def listing(table: str, netns: str | None = None, *, elements: bool = True) -> str | None:
    """The table as nft prints it, without counters' values and maybe the elements of sets; None when there is
    none."""
    terse = [] if elements else ["--terse"]
    try:
        return _run(["--stateless", *terse, "list", "table", "inet", table], "", netns)
    except NftError:
        return None


def delete(table: str, netns: str | None = None) -> None:
    """Also when there is no such table."""
    load(f"table inet {table}\ndelete table inet {table}\n", netns)


def monitor(netns: str | None = None) -> socket.socket:
    """A netlink socket that becomes readable whenever some ruleset changes."""

    def opened() -> socket.socket:
        news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        news.bind((0, _GROUP_NFTABLES))
        return news

    return inside(netns, opened)


def inside(netns: str | None, action: Callable[[], T]) -> T:
    """`action` done in a network namespace, by a thread that ends with it. Raises what it raises."""
    if netns is None:
        return action()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            enter(netns)
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def enter(netns: str) -> None:
    """Take the calling thread into a network namespace, for good. Raises OSError."""
    fd = os.open(namespace(netns), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _CLONE_NEWNET) < 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
    finally:
        os.close(fd)


def namespace(netns: str) -> Path:
    if not netns or "/" in netns or netns.startswith((".", "-")):
        raise ValueError(f"not the name of a network namespace: {netns!r}")
    return Path("/run/netns") / netns


def _run(arguments: list[str], script: str, netns: str | None) -> str:
    prefix = ["ip", "netns", "exec", namespace(netns).name] if netns else []
    try:
        done = subprocess.run(
            [*prefix, "nft", *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NftError(f"nft cannot be run: {error}") from error
    if done.returncode:
        raise NftError(f"nft refused: {done.stderr.strip()[:500]}")
    return done.stdout
