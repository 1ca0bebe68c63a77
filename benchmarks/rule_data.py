"""Rules and recordings for the benchmark of rules: public ones if paths are given, else made from a seed."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shieldwall.detection.rules.rule import Rule
from shieldwall.detection.sigma.importing import convert_files, load
from shieldwall.detection.sigma.parsing import File

CHUNK = 4 << 20
"""Bytes given to the import at a time."""
MOST_OF_FILE = 1 << 30

_PROGRAMS = (
    "cmd",
    "powershell",
    "rundll32",
    "regsvr32",
    "mshta",
    "wmic",
    "certutil",
    "svchost",
    "lsass",
    "net1",
)
_WORDS = (
    "invoke",
    "bypass",
    "download",
    "hidden",
    "encoded",
    "payload",
    "shadow",
    "dump",
    "token",
    "remote",
    "task",
)
_IMAGES = tuple(f"C:\\Windows\\System32\\{name}.exe" for name in _PROGRAMS)


def sigma_rules(path: Path) -> list[Rule]:
    """The rules of a folder or archive, or of JSON lines with ``path`` and ``yaml``, that convert."""
    if path.suffix != ".jsonl":
        return list(load(path).rules)
    lines = map(json.loads, path.read_text().splitlines())
    return list(convert_files([File(line["path"], line["yaml"].encode()) for line in lines]).rules)


def made_rules(count: int, seed: int = 1) -> list[Rule]:
    """Rules like those of Sigma: of ten, six for processes, two for the registry, one each for images and records."""
    chance = random.Random(seed)
    return [_rule(chance, number) for number in range(count)]


def _rule(chance: random.Random, number: int) -> Rule:
    def word() -> str:
        return f"{chance.choice(_WORDS)}-{chance.choice(_WORDS)}{chance.randrange(400)}"

    def some(column: str, texts: list[str], operator: str = "contains") -> str:
        return "(" + " or ".join(f'{column} {operator} @"{text}"' for text in texts) + ")"

    programs = [f"\\{name}.exe" for name in chance.sample(_PROGRAMS, chance.randint(1, 3))]
    words = [word() for _ in range(chance.randint(1, 6))]
    kind = number % 10
    if kind < 6:
        query = (
            f'DeviceProcessEvents | where ActionType == "ProcessCreated" and {some("FolderPath", programs, "endswith")} '
            f'and {some("ProcessCommandLine", words)} and not(ProcessCommandLine contains @"{word()}")'
        )
    elif kind < 8:
        query = (
            f'DeviceRegistryEvents | where ActionType == "RegistryValueSet" and {some("RegistryKey", words)}'
        )
    elif kind < 9:
        query = f"DeviceImageLoadEvents | where {some('FolderPath', [f'{text}.dll' for text in words], 'endswith')}"
    else:
        query = f'SourceEvents | where Channel =~ "Security" and EventId in (4624, 4688) and {some("EventData.ProcessName", words)}'
    return Rule(f"made-{number}", f"made {number}", query, f"Made rule {number}")


def recorded(folder: Path) -> Iterator[bytes]:
    """Lines of the JSON files in a folder and its zip archives, in chunks."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".jsonl", ".ndjson"):
            yield from _chunks(path.read_bytes())
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for item in archive.infolist():
                    if item.filename.endswith(".json") and item.file_size < MOST_OF_FILE:
                        yield from _chunks(archive.read(item))


def _chunks(content: bytes) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    for line in content.splitlines():
        if line.startswith(b"{"):
            lines.append(line)
            size += len(line)
        if size > CHUNK:
            yield b"\n".join(lines)
            lines, size = [], 0
    if lines:
        yield b"\n".join(lines)


def made_records(count: int, seed: int = 1) -> Iterator[bytes]:
    """Records of Windows, as public recordings have them: mostly process access, registry and image loads."""
    chance = random.Random(seed)
    begin = datetime(2020, 5, 1, tzinfo=UTC)
    lines = [json.dumps(_record(chance, number, begin)).encode() for number in range(count)]
    yield from _chunks(b"\n".join(lines))


def _record(chance: random.Random, number: int, begin: datetime) -> dict[str, object]:
    moment = begin + timedelta(milliseconds=number * 7)
    image, other = chance.choice(_IMAGES), chance.choice(_IMAGES)
    line = f"{image} /{chance.choice(_WORDS)} {chance.choice(_WORDS)}-{chance.choice(_WORDS)}{chance.randrange(4000)}"
    record: dict[str, object] = {
        "@timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "UtcTime": moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "Hostname": f"HOST{number % 20}.example.com",
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "SourceName": "Microsoft-Windows-Sysmon",
        "RecordNumber": number,
        "Image": image,
        "ProcessId": str(chance.randrange(10_000)),
    }
    share = chance.random()
    if share < 0.45:
        record |= {
            "EventID": 10,
            "SourceImage": image,
            "TargetImage": other,
            "GrantedAccess": hex(chance.getrandbits(13)),
        }
        record["CallTrace"] = "|".join(
            f"C:\\Windows\\SYSTEM32\\ntdll.dll+{chance.getrandbits(20):x}" for _ in range(6)
        )
    elif share < 0.68:
        key = f"HKLM\\Software\\{chance.choice(_WORDS)}\\{chance.choice(_WORDS)}-{chance.choice(_WORDS)}{chance.randrange(4000)}"
        record |= {
            "EventID": 13,
            "EventType": "SetValue",
            "TargetObject": key,
            "Details": f"DWORD (0x{chance.getrandbits(8):08x})",
        }
    elif share < 0.83:
        loaded = f"C:\\Windows\\System32\\{chance.choice(_WORDS)}-{chance.choice(_WORDS)}{chance.randrange(4000)}.dll"
        record |= {"EventID": 7, "ImageLoaded": loaded, "Signed": "true", "SignatureStatus": "Valid"}
    elif share < 0.86:
        record |= {
            "EventID": 1,
            "CommandLine": line,
            "ParentImage": other,
            "ParentCommandLine": other,
            "User": "HOST\\user",
        }
    elif share < 0.95:
        record |= {
            "Channel": "Security",
            "SourceName": "Microsoft-Windows-Security-Auditing",
            "EventID": 4624,
        }
        record |= {"TargetUserName": f"user{number % 50}", "LogonType": "3", "ProcessName": image}
    else:
        record |= {
            "Channel": "Windows PowerShell",
            "SourceName": "PowerShell",
            "EventID": 800,
            "Message": line * 4,
        }
    return record
