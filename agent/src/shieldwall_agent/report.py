"""What the device says of itself: `POST /agent/v1/report`, at start, on change and hourly."""

import os
import platform
import socket
from pathlib import Path
from typing import Any

import psutil

from shieldwall_agent import __version__

MOST_ENTRIES = 256  # of addresses and of users

_OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))


def device_report() -> dict[str, Any]:
    """All that does not come from the agent's own processes."""
    release = os_release()
    return {
        "dns_name": socket.gethostname()[:253],
        "os_platform": "Linux",
        "os_distribution": release.get("ID", "linux"),
        "os_version": release.get("VERSION_ID", ""),
        "os_build": os.uname().release,
        "os_architecture": "64-bit" if platform.architecture()[0] == "64bit" else "32-bit",
        "os_processor": _PROCESSORS.get(os.uname().machine, os.uname().machine),
        "agent_version": __version__,
        "ip_addresses": addresses(),
        "logged_on_users": logged_on_users(),
    }


_PROCESSORS = {"x86_64": "x64", "aarch64": "arm64", "i686": "x86", "armv7l": "arm"}


def os_release() -> dict[str, str]:
    for path in _OS_RELEASE:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return {name.strip(): value.strip().strip("\"'") for name, value in pairs}
    return {}


def addresses() -> list[dict[str, str]]:
    """IP addresses of all interfaces but loopback, those that are up first."""
    found = []
    stats = psutil.net_if_stats()
    for name, entries in sorted(psutil.net_if_addrs().items()):
        mac = next((e.address for e in entries if e.family == psutil.AF_LINK), "").replace(":", "").upper()
        up = name in stats and stats[name].isup
        for entry in entries:
            if entry.family not in (socket.AF_INET, socket.AF_INET6) or mac == "000000000000":
                continue
            found.append(
                {
                    "ipAddress": entry.address.split("%")[0],
                    "macAddress": mac,
                    "type": "Other" if not mac else "Ethernet",
                    "operationalStatus": "Up" if up else "Down",
                }
            )
    found.sort(key=lambda a: (a["operationalStatus"] != "Up", ":" in a["ipAddress"]))
    return found[:MOST_ENTRIES]


def logged_on_users() -> list[dict[str, str]]:
    names = sorted({user.name for user in psutil.users() if user.name})
    return [{"userName": name, "domainName": socket.gethostname()} for name in names[:MOST_ENTRIES]]
