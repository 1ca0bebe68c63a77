"""Logons in what programs write to the system's log.

Names that strangers choose stand in these lines. So a line is taken apart from its beginning, by program, and
a pattern tells the whole of a message: else the name of a user could be a message of its own.
"""

import re

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import HOST
from shieldwall_agent.sensors.addresses import kind

_LINE = re.compile(
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) \S+ "
    r"(?P<program>[^\s:\[]+)(?:\[(?P<pid>\d{1,9})\])?: +(?P<message>.*)"
)
_SSHD = ("sshd", "sshd-session", "sshd-auth")
_SCREENS = ("login", "gdm-password", "gdm-autologin", "lightdm", "sddm", "xrdp-sesman")
_FROM = r" from (?P<ip>[0-9A-Fa-f:.%\w]+) port (?P<port>\d{1,5})(?: ssh2)?(?:: .*)?"
# Programs, message, action, type of logon. A name that may be anything ends where the last such end is.
_PATTERNS = (
    (_SSHD, rf"Accepted \S+ for (?P<user>\S+){_FROM}", "LogonSuccess", "RemoteInteractive"),
    (_SSHD, rf"Failed \S+ for (?:invalid user )?(?P<user>.*){_FROM}", "LogonFailed", "RemoteInteractive"),
    (("sudo",), r"(?P<by>\S+) : TTY=\S+ ; PWD=.*? ; USER=(?P<user>\S+) ; .*", "LogonSuccess", "Local"),
    (
        ("sudo",),
        r"(?P<by>\S+) : (?P<why>[^;=]+) ; TTY=\S+ ; PWD=.*? ; USER=(?P<user>\S+) ; .*",
        "LogonFailed",
        "Local",
    ),
    (("su",), r"\(to (?P<user>\S+)\) (?P<by>\S+) on \S+", "LogonSuccess", "Local"),
    (("su",), r"FAILED SU \(to (?P<user>\S+)\) (?P<by>\S+) on \S+", "LogonFailed", "Local"),
    (
        _SCREENS,
        r"pam_unix\([\w-]+:session\): session opened for user (?P<user>[^\s(]+).*",
        "LogonSuccess",
        "Interactive",
    ),
    (
        _SCREENS,
        r"pam_unix\([\w-]+:auth\): authentication failure; .*? user=(?P<user>.*)",
        "LogonFailed",
        "Interactive",
    ),
)
_BY_PROGRAM = {
    program: [
        (re.compile(pattern), action, logon_type)
        for programs, pattern, action, logon_type in _PATTERNS
        if program in programs
    ]
    for programs, *_ in _PATTERNS
    for program in programs
}


def from_line(line: str, when: float) -> Event | None:
    """The logon that a line of an auth log tells, in rsyslog's old format or its new one."""
    found = _LINE.fullmatch(line)
    return from_message(found["program"], int(found["pid"] or 0), found["message"], when) if found else None


def from_message(program: str, pid: int, message: str, when: float) -> Event | None:
    """The logon that a program's message tells; `when` in Unix seconds."""
    for pattern, action, logon_type in _BY_PROGRAM.get(program.rstrip("]"), ()):  # GDM writes "gdm-password]"
        if found := pattern.fullmatch(message.strip()):
            groups = found.groupdict()
            fields = {name: groups[key] for name, key in (("By", "by"), ("Reason", "why")) if groups.get(key)}
            event = logon(
                action,
                logon_type,
                groups["user"],
                when=when,
                address=groups.get("ip", ""),
                pid=pid,
                fields=fields,
            )
            if port := groups.get("port"):
                event["RemotePort"] = int(port)
            return event
    return None


def logon(
    action: str, logon_type: str, user: str, *, when: float, address: str, pid: int, fields: dict[str, str]
) -> Event:
    """A row of DeviceLogonEvents."""
    event: Event = {
        "Table": "DeviceLogonEvents",
        "Timestamp": timestamp(when),
        "ActionType": action,
        "LogonType": logon_type,
        "AccountName": user,
        "AccountDomain": HOST,
        "IsLocalAdmin": user == "root",
        "AdditionalFields": fields,
    }
    if address:
        event |= {"RemoteIP": address, "RemoteIPType": kind(address)}
    if pid:
        event["InitiatingProcessId"] = pid
    return event
