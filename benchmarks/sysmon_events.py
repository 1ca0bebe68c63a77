"""Sysmon's events as a busy machine has them, for an EVTX file of any length."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.sources.evtx_maker import Made, write

_START = datetime(2026, 1, 1, tzinfo=UTC)
_HASHES = "SHA1={0:040X},MD5={0:032X},SHA256={0:064X},IMPHASH={0:032X}"


def write_sysmon(path: Path, events: int) -> None:
    """An EVTX file of records about processes, connections, files, registry values, images, accesses."""
    write(path, _events(events))


def _events(count: int) -> Iterator[Made]:
    for number in range(count):
        time = _START + timedelta(milliseconds=17 * number)
        event, fields = _fields(number, time)
        yield Made(event, fields, time, host=f"PC{number % 20}.corp.example")


def _fields(number: int, time: datetime) -> tuple[int, dict[str, str]]:
    name = f"tool{number % 500}.exe"
    actor = {
        "RuleName": "-",
        "UtcTime": f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d}",
        "ProcessGuid": f"{{747F3D96-08DA-6956-{number & 0xFFFF:04X}-00101235{number % 9973:04X}}}",
        "ProcessId": str(1000 + number % 40_000),
        "Image": rf"C:\Program Files\Vendor\{name}",
    }
    hashes = _HASHES.format(number * 2_654_435_761)
    kind = number % 10
    if kind < 3:
        return 1, actor | {
            "FileVersion": "10.0.19041.1 (WinBuild.160101.0800)",
            "Description": "A tool",
            "Product": "Vendor Suite",
            "Company": "Vendor",
            "OriginalFileName": name.upper(),
            "CommandLine": rf'"C:\Program Files\Vendor\{name}" --job {number} --config C:\{number % 97}.json',
            "CurrentDirectory": "C:\\Windows\\system32\\",
            "User": rf"CORP\user{number % 300}",
            "LogonGuid": "{747F3D96-0000-6956-0000-002066050000}",
            "LogonId": f"0x{number % 65_536:x}",
            "TerminalSessionId": "1",
            "IntegrityLevel": "Medium",
            "Hashes": hashes,
            "ParentProcessGuid": "{747F3D96-0001-6956-0000-0010BEF40600}",
            "ParentProcessId": "3408",
            "ParentImage": r"C:\Windows\System32\cmd.exe",
            "ParentCommandLine": r'"C:\Windows\system32\cmd.exe" /c start',
            "ParentUser": rf"CORP\user{number % 300}",
        }
    if kind < 5:
        return 7, actor | {
            "ImageLoaded": rf"C:\Windows\System32\lib{number % 400}.dll",
            "FileVersion": "10.0.19041.1",
            "Description": "Library",
            "Product": "Microsoft Windows Operating System",
            "Company": "Microsoft Corporation",
            "OriginalFileName": f"lib{number % 400}.dll",
            "Hashes": hashes,
            "Signed": "true",
            "Signature": "Microsoft Windows",
            "SignatureStatus": "Valid",
        }
    if kind < 6:
        return 3, actor | {
            "User": rf"CORP\user{number % 300}",
            "Protocol": "tcp",
            "Initiated": "true",
            "SourceIsIpv6": "false",
            "SourceIp": f"10.0.{number % 200}.7",
            "SourcePort": str(49_152 + number % 16_000),
            "DestinationIsIpv6": "false",
            "DestinationIp": f"203.0.113.{number % 250}",
            "DestinationHostname": f"host{number % 1000}.example.org",
            "DestinationPort": "443",
            "DestinationPortName": "https",
        }
    if kind < 7:
        return 11, actor | {
            "TargetFilename": rf"C:\Users\user{number % 300}\AppData\Local\Temp\{number}.tmp",
            "CreationUtcTime": actor["UtcTime"],
        }
    if kind < 9:
        return 13, actor | {
            "EventType": "SetValue",
            "TargetObject": rf"HKLM\System\CurrentControlSet\Services\s{number % 700}\P\v{number % 50}",
            "Details": f"DWORD (0x{number % 1000:08x})",
        }
    return 10, {
        "RuleName": "-",
        "UtcTime": actor["UtcTime"],
        "SourceProcessGUID": actor["ProcessGuid"],
        "SourceProcessId": actor["ProcessId"],
        "SourceThreadId": "772",
        "SourceImage": actor["Image"],
        "TargetProcessGUID": "{747F3D96-0001-6956-0000-0010BEF40600}",
        "TargetProcessId": "640",
        "TargetImage": r"C:\Windows\System32\svchost.exe",
        "GrantedAccess": "0x1000",
        "CallTrace": r"C:\Windows\SYSTEM32\ntdll.dll+9fc24|C:\Windows\System32\KERNELBASE.dll+20d0e|UNKNOWN",
    }
