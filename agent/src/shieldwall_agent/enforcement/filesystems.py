"""The mounted filesystems that programs are executed from, and news of changes."""

import os
import re
import select
from collections.abc import Iterator

# Kernel views hold no programs. On network and FUSE filesystems a read may hang as long as its server
# likes, so executions there are seen by the sensors and not held up by the gate.
_KERNEL_VIEWS = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "resctrl", "rpc_pipefs", "securityfs",
    "selinuxfs", "sysfs", "tracefs",
}  # fmt: skip
_REMOTE = {
    "9p", "afs", "ceph", "cifs", "coda", "fuse", "fuseblk", "glusterfs", "gfs2", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs",
}  # fmt: skip


class MountWatch:
    """`fileno` becomes ready (POLLPRI) whenever something is mounted or unmounted."""

    events = select.POLLPRI | select.POLLERR

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def mounts(self) -> Iterator[tuple[int, str]]:
        """(device number, mount point) of each local filesystem, once for each device."""
        seen: set[int] = set()
        for line in self._lines():
            fields, _, rest = line.partition(" - ")
            kind = rest.split(" ", 1)[0]
            if kind in _KERNEL_VIEWS or kind in _REMOTE or kind.startswith("fuse."):
                continue
            parts = fields.split(" ")
            major, _, minor = parts[2].partition(":")
            device = os.makedev(int(major), int(minor))
            if device not in seen:
                seen.add(device)
                yield device, _unescape(parts[4])

    def _lines(self) -> list[str]:
        os.lseek(self._fd, 0, os.SEEK_SET)
        data = b""
        while chunk := os.read(self._fd, 65536):
            data += chunk
        return os.fsdecode(data).splitlines()


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
