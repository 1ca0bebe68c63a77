"""What alerts are joined by: the entities that an alert names, each as one short key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from shieldwall.devices.models import Device

if TYPE_CHECKING:
    from shieldwall.alerts.drafts import EvidenceDraft
    from shieldwall.alerts.models import Evidence

Kind = Literal["process", "session", "device", "user", "file", "address", "domain", "logon", "own", "private"]
"""``own`` is a name or address of the alert's own device, ``logon`` one from which somebody logged on to it,
``private`` the address of another device in the same network."""

LINKS_LIMIT = 64
"""Most links of one alert; what matters most comes first."""
OWN_LIMIT = 12
LABEL_LIMIT = 200

HUBS = frozenset(
    """
    systemd,(sd-pam),init,cron,crond,atd,sshd,login,containerd-shim,containerd-shim-runc-v2,dockerd,supervisord
    runit,s6-svscan,tmux,tmux: server,screen,gdm,lightdm,gnome-shell,plasmashell,launchd,explorer.exe
    services.exe,svchost.exe,wininit.exe,winlogon.exe,userinit.exe,smss.exe,csrss.exe,lsass.exe
    taskhostw.exe,taskeng.exe,system
    """.strip()
    .replace("\n    ", ",")
    .split(",")
)
"""Processes that everything on a machine descends from; sharing one ties nothing together."""

SYSTEM_ACCOUNTS = frozenset(
    (
        *("root", "nobody", "-", "system", "local system", "anonymous logon"),
        *("local service", "network service", "localservice", "networkservice"),
    )
)
_SYSTEM_SIDS = frozenset(["S-1-5-18", "S-1-5-19", "S-1-5-20", "S-1-5-7", "S-1-22-1-0"])
_SYSTEM_SESSIONS = frozenset([0, 996, 997, 999, 0xFFFFFFFF])
_SYSTEM_FOLDERS = (
    *("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/lib/", "/usr/libexec/", "/lib/"),
    *("c:\\windows\\system32\\", "c:\\windows\\syswow64\\", "c:\\windows\\winsxs\\"),
    *("c:\\windows\\microsoft.net\\", "c:\\program files\\", "c:\\program files (x86)\\"),
)
_RESOLVERS = frozenset(
    (
        *("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "149.112.112.112"),
        *("208.67.222.222", "208.67.220.220", "168.63.129.16"),
    )
)
_LOCAL_NETWORKS = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
# An address in a connection may be a device's own one, and a name in a URL may be a device's own name.
_SPACES = {"own": "host", "logon": "host", "address": "host", "private": "host", "domain": "host"}


@dataclass(frozen=True)
class Link:
    """One entity of an alert. ``value`` tells it from all others of the tenant; ``label`` is for people."""

    kind: Kind
    value: str
    label: str = field(default="", compare=False)
    known_key: str = ""
    """The key of a link of which nothing else is kept."""

    @cached_property
    def key(self) -> str:
        """The same for the same entity, in whatever part an alert names it."""
        if self.known_key:
            return self.known_key
        text = f"{_SPACES.get(self.kind, self.kind)}\n{self.value}"
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()

    @property
    def shown(self) -> str:
        return (self.label or self.value)[:LABEL_LIMIT]


def process_link(device_id: str, process_id: int | None, started: datetime | None, name: str) -> Link | None:
    """The link of one process; None for one that is everybody's ancestor or not known well enough."""
    if not process_id or process_id == 1 or started is None or name.lower() in HUBS:
        return None
    # Sources date a process's start to within some milliseconds of one another.
    value = f"{device_id} {process_id} {round(started.timestamp())}"
    return Link("process", value, f"{name or 'process'} ({process_id})")


def session_link(device_id: str, logon_id: int | None) -> Link | None:
    """The link of a logon session; None for those of the system itself."""
    if logon_id is None or logon_id in _SYSTEM_SESSIONS:
        return None
    return Link("session", f"{device_id} {logon_id}", f"logon session {logon_id}")


def logon_links(address: str | None, name: str | None) -> Iterator[Link]:
    """Where somebody logged on from, by address and by name."""
    if text := _address(address):
        yield Link("logon", text)
    yield from (Link("logon", host) for host in _names(name))


def own_links(device: Device) -> tuple[Link, ...]:
    """What other devices' alerts may call a device."""
    told = [device.last_ip_address, *(str(each.get("ipAddress") or "") for each in device.ip_addresses or ())]
    return _own_links(device.computer_dns_name, tuple(told))


@lru_cache(maxsize=10_000)
def _link(kind: Kind, value: str, label: str = "") -> Link:
    """The link of an entity that many alerts name, with the key that it has worked out."""
    return Link(kind, value, label)


@lru_cache(maxsize=10_000)
def _own_links(name: str, told: tuple[str | None, ...]) -> tuple[Link, ...]:
    addresses = (Link("own", text, name) for each in told if (text := _address(each)))
    names = (Link("own", each, name) for each in _names(name))
    return tuple(dict.fromkeys([*addresses, *names]))[:OWN_LIMIT]


def device_link(device_id: str, name: str | None) -> Link:
    return _link("device", device_id, name or "")


def evidence_links(device_id: str | None, evidence: Iterable[EvidenceDraft | Evidence]) -> Iterator[Link]:
    """The links of an alert's evidence; ``device_id`` is that of its device, if it has one."""
    for item in evidence:
        match item.entity_type:
            case "Process" if device_id:
                yield from _processes(device_id, item)
                yield from _files(item)
            case "File" | "Process":
                yield from _files(item)
            case "Ip":
                yield from _addresses(item.ip_address)
            case "Url":
                yield from _hosts(item.url)
            case "User":
                yield from _users(item)


def _processes(device_id: str, item: EvidenceDraft | Evidence) -> Iterator[Link]:
    for process_id, started, name in (
        (item.process_id, item.process_creation_time, item.file_name),
        (item.parent_process_id, item.parent_process_creation_time, item.parent_process_file_name),
    ):
        if link := process_link(device_id, process_id, started, name or ""):
            yield link


def _files(item: EvidenceDraft | Evidence) -> Iterator[Link]:
    """Files that come with the system run everywhere, and tie nothing together unless they are known bad."""
    folder = f"{(item.file_path or '').lower().rstrip('/').rstrip(chr(92))}"
    mark = "\\" if "\\" in folder else "/"
    if item.verdict != "Malicious" and f"{folder}{mark}".startswith(_SYSTEM_FOLDERS):
        return
    hashes: Sequence[str | None] = (item.sha256, item.sha1) if item.sha256 or item.sha1 else (item.md5,)
    for value in hashes:
        if value:
            yield _link("file", value.lower(), item.file_name or value.lower())


def _addresses(text: str | None) -> Iterator[Link]:
    if (value := _address(text)) and value not in _RESOLVERS:
        yield _link("private" if _is_private(value) else "address", value)


def _hosts(url: str | None) -> Iterator[Link]:
    try:
        host = urlsplit(url if url and "//" in url else f"//{url or ''}").hostname
    except ValueError:
        return
    if not host:
        return
    if _is_address(host):
        yield from _addresses(host)
    else:
        yield _link("domain", host.rstrip(".").lower()[:253])


def _users(item: EvidenceDraft | Evidence) -> Iterator[Link]:
    name = (item.account_name or "").lower()
    if not name or name in SYSTEM_ACCOUNTS or name.endswith("$") or name.startswith(("dwm-", "umfd-")):
        return
    if (item.user_sid or "").upper() in _SYSTEM_SIDS:
        return
    domain = (item.domain_name or "").lower()
    yield _link(
        "user", f"{domain}\\{name}", f"{item.domain_name}\\{item.account_name}".removeprefix("None\\")
    )


@lru_cache(maxsize=10_000)
def _address(text: str | None) -> str | None:
    """An address in its one form; None for what is none, or is of no one host."""
    try:
        parsed = ip_address((text or "").strip().strip("[]"))
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
        return None
    return str(parsed)


@lru_cache(maxsize=10_000)
def _is_private(text: str) -> bool:
    parsed = ip_address(text)
    return any(parsed in each for each in _LOCAL_NETWORKS)


@lru_cache(maxsize=10_000)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _names(text: str | None) -> Iterator[str]:
    """A host's name without its domain, which some sources leave out."""
    whole = (text or "").strip().rstrip(".").lower()
    if whole and whole not in ("localhost", "localhost.localdomain", "-") and not _is_address(whole):
        yield whole.partition(".")[0][:253]
