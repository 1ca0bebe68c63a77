"""An execution as an event: the true image behind it, its hashes, its line and its parents."""

import os

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import Process, as_created, command_line_of, cwd_of, image_of
from shieldwall_agent.sensors.base import Surroundings


def executed(
    around: Surroundings,
    process: Process,
    *,
    when: float,
    name: str = "",
    inode: int | None = None,
    command_line: str = "",
    ended: bool = False,
    extra: dict[str, object] | None = None,
) -> Event:
    """Give `process` its new image and return the event that tells of it.

    `name` is the file as the caller of exec named it, `inode` that of the image; what a mechanism does not
    know is looked up while the process still lives, so not when it is known to have `ended`.
    """
    cwd = "" if ended else cwd_of(process.pid)  # empty too when it has ended meanwhile
    process.cwd = cwd or (process.parent.cwd if process.parent else process.cwd)
    process.command_line = command_line or command_line_of(process.pid)
    found = around.hasher.hash(name, inode) if inode and not cwd and name.startswith("/") else None
    if found is not None:
        process.path = os.path.normpath(name)
    else:
        process.path = _image(process, name, inode, bool(cwd))
        found = around.hasher.hash(process.path, inode, process.pid if cwd else 0)
    process.hashes, process.size = found or ({}, None)
    fields = {"ProcessCurrentWorkingDirectory": process.cwd, **(extra or {})}
    if found is None:
        fields["Unhashed"] = "the image was gone or replaced before it could be read"
    return {
        "Table": "DeviceProcessEvents",
        "Timestamp": timestamp(when),
        "ActionType": "ProcessCreated",
        **as_created(process),
        "AdditionalFields": fields,
    }


def _image(process: Process, name: str, inode: int | None, alive: bool) -> str:
    """The path of the file that runs, which for a script is its interpreter."""
    if alive and _is(f"/proc/{process.pid}/exe", inode) and (path := image_of(process.pid)):
        return path
    named = name if name.startswith("/") else os.path.join(process.cwd, name)
    if not name or _is(named, inode):
        return os.path.normpath(named) if name else process.path
    interpreter = _interpreter(named)
    if interpreter and _is(interpreter, inode):
        return os.path.realpath(interpreter)
    if not name.startswith("/") and not alive:
        return name  # its folder went with it: a relative path is told rather than a wrong absolute one
    return os.path.normpath(named)


def _is(path: str, inode: int | None) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return inode is None or status.st_ino == inode


def _interpreter(path: str) -> str:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            line = file.readline(256)
    except OSError:
        return ""
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
