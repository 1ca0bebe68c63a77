"""Events that say what enforcement did. DeviceEvents, with these ActionTypes:

| what | ActionType |
|---|---|
| file refused (Block, BlockAndRemediate, Warn), quarantined or its processes stopped | `AntivirusDetection` |
| file on the list with Audit, let run | `AppControlExecutableAudited` |
| file refused because only the system's own may run | `AppControlExecutableBlocked` |
| connection or name refused | `ExploitGuardNetworkProtectionBlocked` |
| connection or name on the list with Audit | `ExploitGuardNetworkProtectionAudited` |
| name that passed our resolver proxy, which the sensors cannot see | `DnsQueryRequest` |
| isolation ordered, or ended | `IsolationApplied`, `IsolationReleased` |
| isolation put back after somebody took it away | `IsolationTampered` |
| refused addresses put back after somebody took them away | `AddressBlockTampered` |

AdditionalFields of the first five: `IndicatorId`, `IndicatorType`, `IndicatorValue`, `Action` (the
indicator's), `Text`. Files also `ThreatName` (`EUS:Win32/CustomEnterpriseBlock!cl`, or
`...NoAlertBlock!cl` for an indicator without alert), `WasRemediated`, `WasExecutingWhileDetected`. Network
events `ResponseCategory: CustomBlockList`. Refused means prevented.
"""

import os
import pwd
from functools import lru_cache
from pathlib import Path
from typing import Any

from shieldwall_agent.clock import started
from shieldwall_agent.enforcement.policy import Indicator
from shieldwall_agent.events import Event, timestamp

_TEXTS = {
    "Audit": "listed for audit; allowed",
    "Warn": "listed with a warning; refused, as no user can be asked on Linux",
    "Block": "refused",
    "BlockAndRemediate": "refused and remediated",
}
_HASH_COLUMNS = {"FileSha256": "SHA256", "FileSha1": "SHA1", "FileMd5": "MD5"}
_QUERY_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
                64: "SVCB", 65: "HTTPS", 255: "ANY"}  # fmt: skip
_LONGEST_COMMAND = 32_768  # bytes


def state_event(action: str, detail: str) -> Event:
    """What became of a protection of the whole device."""
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(),
        "ActionType": action,
        "AdditionalFields": {"Detail": detail, "InitiatingUser": os.geteuid()},
    }


def file_event(
    indicator: Indicator,
    path: str,
    hashes: dict[str, str],
    size: int,
    pid: int = 0,
    remediated: bool = False,
    executing: bool = False,
) -> Event:
    """A listed file that was about to run (or runs). `pid` is the process that wants it."""
    audited = not indicator.denies
    name = "CustomEnterpriseBlock" if indicator.generate_alert else "CustomEnterpriseNoAlertBlock"
    fields = {
        **_indicator_fields(indicator),
        "ThreatName": f"EUS:Win32/{name}!cl",
        "WasRemediated": remediated,
        "WasExecutingWhileDetected": executing,
    }
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(),
        "ActionType": "AppControlExecutableAudited" if audited else "AntivirusDetection",
        "FileName": path.rpartition("/")[2],
        "FolderPath": path,
        "FileSize": size,
        **{_HASH_COLUMNS[kind]: value for kind, value in hashes.items()},
        **initiating_process(pid),
        "AdditionalFields": fields,
    }


def restricted_event(path: str, size: int, pid: int) -> Event:
    """A file that may not run while execution is restricted."""
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(),
        "ActionType": "AppControlExecutableBlocked",
        "FileName": path.rpartition("/")[2],
        "FolderPath": path,
        "FileSize": size,
        **initiating_process(pid),
        "AdditionalFields": {"Text": "refused: only files of the system may run on this device"},
    }


def network_event(indicator: Indicator, pid: int, **columns: Any) -> Event:
    """A listed destination. `columns`: RemoteIP and RemotePort, or RemoteUrl."""
    kind = "Audited" if not indicator.denies else "Blocked"
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(),
        "ActionType": f"ExploitGuardNetworkProtection{kind}",
        **columns,
        **initiating_process(pid),
        "AdditionalFields": {**_indicator_fields(indicator), "ResponseCategory": "CustomBlockList"},
    }


def name_query(name: str, kind: int, server: str, protocol: str, pid: int) -> Event:
    """A name asked for, as the sensors would tell it. `kind` is the type's number."""
    return {
        "Table": "DeviceEvents",
        "Timestamp": timestamp(),
        "ActionType": "DnsQueryRequest",
        "RemoteUrl": name,
        "RemoteIP": server,
        "RemotePort": 53,
        **initiating_process(pid),
        "AdditionalFields": {
            "DnsQueryString": name,
            "DnsQueryType": _QUERY_TYPES.get(kind, str(kind)),
            "Protocol": protocol,
        },
    }


def initiating_process(pid: int) -> Event:
    """The InitiatingProcess columns of a live process, as far as it can still be read."""
    if pid <= 0:
        return {}
    columns: Event = {"InitiatingProcessId": pid}
    try:
        base = Path("/proc") / str(pid)
        fields = (base / "stat").read_text(errors="replace").rpartition(")")[2].split()
        parent = int(fields[1])
        columns["InitiatingProcessCreationTime"] = started(int(fields[19]))
        columns["InitiatingProcessAccountName"] = base.stat().st_uid  # named later, by `name_account`
        columns["InitiatingProcessParentId"] = parent
        with (base / "cmdline").open("rb") as file:
            command = file.read(_LONGEST_COMMAND)
        columns["InitiatingProcessCommandLine"] = os.fsdecode(command.rstrip(b"\0").replace(b"\0", b" "))
        image = os.readlink(base / "exe").removesuffix(" (deleted)")
        columns["InitiatingProcessFolderPath"] = image
        columns["InitiatingProcessFileName"] = image.rpartition("/")[2]
        if parent > 0:
            stat = (Path("/proc") / str(parent) / "stat").read_text(errors="replace")
            columns["InitiatingProcessParentFileName"] = stat.partition("(")[2].rpartition(")")[0]
            columns["InitiatingProcessParentCreationTime"] = started(int(stat.rpartition(")")[2].split()[19]))
    except (OSError, ValueError, IndexError):
        pass
    return columns


def name_account(event: Event) -> Event:
    """Turn the account's number into its name. Opens /etc/passwd, which the gate's loop must not."""
    uid = event.get("InitiatingProcessAccountName")
    if isinstance(uid, int):
        event["InitiatingProcessAccountName"] = _user(uid)
    return event


def _indicator_fields(indicator: Indicator) -> dict[str, Any]:
    return {
        "IndicatorId": indicator.id,
        "IndicatorType": indicator.type,
        "IndicatorValue": indicator.value,
        "Action": indicator.action,
        "Text": f"{indicator.title}: {_TEXTS.get(indicator.action, '')}".removeprefix(": "),
    }


@lru_cache(maxsize=1024)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
