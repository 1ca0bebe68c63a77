"""Records of the kernel's audit, as text, to fields and events."""

import re

from shieldwall_agent.events import Event, timestamp
from shieldwall_agent.processes import HOST
from shieldwall_agent.sensors.addresses import kind

LOGIN, USER_AUTH, USER_LOGIN, USER_CMD = 1006, 1100, 1112, 1123
SYSCALL, SOCKADDR, EXECVE, EOE = 1300, 1306, 1309, 1320

_STAMP = re.compile(r"audit\((\d{1,12})\.(\d{3}):(\d{1,20})\): ?")
_FIELD = re.compile(r"""([A-Za-z_][\w\-\[\]]*)=("[^"]*"|'[^']*'|\S*)""")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+\Z")
_KINDS = {USER_AUTH: "USER_AUTH", USER_LOGIN: "USER_LOGIN", USER_CMD: "USER_CMD"}


def record(text: str) -> tuple[int, float, dict[str, str]] | None:
    """Serial, time and raw fields of one record; None for what is none."""
    stamp = _STAMP.match(text)
    if stamp is None:
        return None
    fields = dict(_FIELD.findall(text[stamp.end() :]))
    inner = fields.get("msg", "")
    if inner.startswith("'"):
        fields |= dict(_FIELD.findall(inner.strip("'")))
    return int(stamp[3]), int(stamp[1]) + int(stamp[2]) / 1000, fields


def plain(value: str) -> str:
    """A value that the kernel quotes, or writes in hexadecimal when it holds anything odd."""
    if value.startswith('"'):
        return value.strip('"')
    if value in ("(null)", "?"):
        return ""
    if _HEX.match(value):
        return bytes.fromhex(value).decode("utf-8", "surrogateescape")
    return value


def arguments(fields: dict[str, str]) -> str:
    """The line that EXECVE records tell, the parts of long arguments put together."""
    found = []
    number = 0
    while True:
        name = f"a{number}"
        if name in fields:
            found.append(plain(fields[name]))
        elif f"{name}[0]" in fields:
            parts: list[str] = []
            while (part := f"{name}[{len(parts)}]") in fields:
                parts.append(fields[part])
            # Hexadecimal parts may cut a character in two, so they are joined before they are read.
            quoted = any(part.startswith('"') for part in parts)
            found.append("".join(map(plain, parts)) if quoted else plain("".join(parts)))
        else:
            return " ".join(found)
        number += 1


def number(fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else 0


def logon(record_type: int, when: float, fields: dict[str, str]) -> Event | None:
    """A row of DeviceLogonEvents; None for records that tell of no attempt to log on."""
    what = _KINDS.get(record_type)
    if what is None:
        return None
    succeeded = fields.get("res", "") in ("success", "1", "yes")
    if what == "USER_AUTH" and succeeded:
        return None  # a session that follows tells of it
    address = plain(fields.get("addr", ""))
    user = plain(fields.get("acct", "")) or fields.get("id", "")
    event: Event = {
        "Table": "DeviceLogonEvents",
        "Timestamp": timestamp(when),
        "ActionType": "LogonSuccess" if succeeded else "LogonFailed",
        "LogonType": "RemoteInteractive" if address else "Local",
        "AccountName": user,
        "AccountDomain": HOST,
        "IsLocalAdmin": user == "root",
        "InitiatingProcessId": number(fields, "pid"),
        "AdditionalFields": {"Record": what, "Terminal": plain(fields.get("terminal", ""))},
    }
    if address:
        event |= {"RemoteIP": address, "RemoteIPType": kind(address)}
    return event
