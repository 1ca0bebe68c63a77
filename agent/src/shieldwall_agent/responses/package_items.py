"""What goes into the investigation package of a Linux device."""

import csv
import glob
import io
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

_LARGEST_FILE = 1024 * 1024  # bytes of each file that is copied
_MOST_FILES = 500  # of one item
_PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy")


@dataclass(frozen=True)
class Output:
    data: bytes
    status: str = "Success"
    detail: str = ""


@dataclass(frozen=True)
class Item:
    """`source` is a command or a reading of ours."""

    name: str
    source: tuple[str, ...] | Callable[[], Output]
    described: str


def files(*patterns: str) -> Callable[[], Output]:
    """The files of some glob patterns, one after the other under their names."""

    def read() -> Output:
        paths = [path for pattern in patterns for path in sorted(glob.glob(pattern)) if os.path.isfile(path)]
        parts: list[bytes] = []
        problems: list[str] = []
        for path in paths[:_MOST_FILES]:
            try:
                # Never a pipe or a device, which could keep us waiting.
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                with os.fdopen(fd, "rb") as file:
                    content = file.read(_LARGEST_FILE + 1)
            except OSError as error:
                problems.append(f"{path}: {error.strerror}")
                continue
            if len(content) > _LARGEST_FILE:
                problems.append(f"{path}: cut at {_LARGEST_FILE} bytes")
            parts.append(b"===== " + os.fsencode(path) + b"\n" + content[:_LARGEST_FILE] + b"\n")
        if len(paths) > _MOST_FILES:
            problems.append(f"{len(paths) - _MOST_FILES} more files")
        if not parts and not problems:
            return Output(b"", "NotAvailable", "no such files")
        return Output(b"".join(parts), "Truncated" if problems else "Success", "; ".join(problems)[:2000])

    return read


def _table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> Output:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return Output(text.getvalue().encode(errors="surrogateescape"))


def _processes() -> Output:
    names = [
        "pid",
        "ppid",
        "name",
        "exe",
        "cmdline",
        "username",
        "create_time",
        "cwd",
        "status",
        "num_threads",
    ]

    def rows() -> Iterable[list[object]]:
        for process in psutil.process_iter(names):
            info = process.info
            started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(info["create_time"] or 0))
            command = " ".join(info["cmdline"] or [])
            yield [started if n == "create_time" else command if n == "cmdline" else info[n] for n in names]

    return _table(names, rows())


def _open_files() -> Output:
    def rows() -> Iterable[list[object]]:
        for entry in glob.iglob("/proc/[0-9]*/fd/*"):
            try:
                target = os.readlink(entry)
                pid = entry.split("/")[2]
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            yield [pid, name, entry.rpartition("/")[2], target]

    return _table(["pid", "process", "descriptor", "target"], rows())


def _connections(listening: bool) -> Callable[[], Output]:
    def read() -> Output:
        names = {p.pid: p.info["name"] for p in psutil.process_iter(["name"])}

        def rows() -> Iterable[list[object]]:
            for c in psutil.net_connections("inet"):
                waits = c.status == psutil.CONN_LISTEN or (c.type == 2 and not c.raddr)
                if waits == listening:
                    local = f"{c.laddr.ip} {c.laddr.port}" if c.laddr else ""
                    remote = f"{c.raddr.ip} {c.raddr.port}" if c.raddr else ""
                    protocol = "tcp" if c.type == 1 else "udp"
                    yield [protocol, local, remote, c.status, c.pid or "", names.get(c.pid or -1, "")]

        return _table(["protocol", "local", "remote", "status", "pid", "process"], rows())

    return read


def _proxy() -> Output:
    lines = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.lower() in _PROXY_NAMES]
    found = files("/etc/environment", "/etc/apt/apt.conf.d/*proxy*", "/etc/profile.d/*proxy*")()
    return Output(("\n".join(lines) + "\n").encode() + found.data)


def _disks() -> Output:
    rows = []
    for part in psutil.disk_partitions(all=False):
        try:
            usage = psutil.disk_usage(part.mountpoint)
        except OSError:
            continue
        rows.append(
            [part.device, part.mountpoint, part.fstype, part.opts, usage.total, usage.used, usage.free]
        )
    return _table(["device", "mount", "type", "options", "total", "used", "free"], rows)


def _tool(name: str, *command: str) -> Item:
    return Item(name, command, " ".join(command))


def _read(name: str, *patterns: str) -> Item:
    return Item(name, files(*patterns), " ".join(patterns))


ITEMS: tuple[Item, ...] = (
    Item("Processes/Processes.csv", _processes, "process table"),
    Item("Network connections/ActiveNetConnections.csv", _connections(False), "socket table"),
    Item("Network connections/Listening.csv", _connections(True), "socket table"),
    _read("Network connections/Arp.txt", "/proc/net/arp"),
    _tool("Network connections/Neighbours.txt", "ip", "neigh"),
    _tool("Network connections/Interfaces.txt", "ip", "address"),
    _tool("Network connections/Routes.txt", "ip", "route", "show", "table", "all"),
    _tool("Network connections/FirewallNft.txt", "nft", "list", "ruleset"),
    _tool("Network connections/FirewallIptables.txt", "iptables-save"),
    _read("Network connections/Resolver.txt", "/etc/resolv.conf", "/etc/hosts"),
    Item("Network connections/Proxy.txt", _proxy, "environment and configuration"),
    Item("Files/OpenFiles.csv", _open_files, "/proc/*/fd"),
    _read("Kernel modules/Modules.txt", "/proc/modules"),
    Item("Disk volumes/Disks.csv", _disks, "mounted disks"),
    _read("Disk volumes/Mounts.txt", "/proc/self/mountinfo", "/proc/partitions", "/proc/swaps", "/etc/fstab"),
    _tool("Disk volumes/BlockDevices.txt", "lsblk", "-a", "-o", "NAME,SIZE,TYPE,FSTYPE,MOUNTPOINT,MODEL"),
    _read("Services and scheduled tasks/CPU.txt", "/proc/cpuinfo"),
    _read(
        "Services and scheduled tasks/Hardware.txt", "/proc/meminfo", "/sys/class/dmi/id/*_*", "/proc/iomem"
    ),
    _read(
        "Services and scheduled tasks/OS.txt",
        "/etc/os-release",
        "/proc/version",
        "/proc/cmdline",
        "/proc/uptime",
    ),
    _tool(
        "Services and scheduled tasks/Services.txt",
        "systemctl",
        "list-units",
        "--all",
        "--no-pager",
        "--plain",
    ),
    _tool("Services and scheduled tasks/ServiceFiles.txt", "systemctl", "list-unit-files", "--no-pager"),
    _tool("Services and scheduled tasks/Timers.txt", "systemctl", "list-timers", "--all", "--no-pager"),
    _read(
        "Services and scheduled tasks/Cron.txt",
        "/etc/crontab",
        "/etc/anacrontab",
        "/etc/cron.*/*",
        "/var/spool/cron/*",
        "/var/spool/cron/crontabs/*",
        "/var/spool/at/*",
    ),
    _read(
        "Services and scheduled tasks/Init.txt",
        "/etc/rc.local",
        "/etc/ld.so.preload",
        "/etc/systemd/system/*.service",
    ),
    _read("Users and groups/Users.txt", "/etc/passwd"),
    _read("Users and groups/Groups.txt", "/etc/group"),
    _read("Users and groups/Sudoers.txt", "/etc/sudoers", "/etc/sudoers.d/*"),
    _read(
        "Users and groups/AuthorizedKeys.txt", "/root/.ssh/authorized_keys*", "/home/*/.ssh/authorized_keys*"
    ),
    _tool("Users and groups/SignedIn.txt", "who", "-a"),
    _tool("Users and groups/SignInHistory.txt", "last", "-F", "-w", "-n", "1000"),
    _tool("Users and groups/FailedSignIns.txt", "lastb", "-F", "-w", "-n", "1000"),
)
