"""Process and network events for hunting, made inside ClickHouse from a seed: the same rows for the same seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shieldwall.telemetry.store import TelemetryStore

DAYS = 7
DEVICES = 5_000
CHUNK = 250_000
RARE = "mimikatz"
"""A term of one event in a million."""

_PROGRAMS = (
    "svchost.exe", "chrome.exe", "powershell.exe", "cmd.exe", "python3", "bash", "curl", "systemd", "sshd",
    "explorer.exe", "outlook.exe", "teams.exe", "rundll32.exe", "wmiprvse.exe", "git", "java", "node", "conhost.exe",
)  # fmt: skip
_WORDS = (
    "billing", "orders", "ledger", "search", "mailer", "builder", "gateway", "audit", "report", "backup", "update",
    "metrics", "inventory", "payroll", "session", "telemetry", "index", "cache", "worker", "proxy",
)  # fmt: skip
_TEMPLATES = (
    "'/usr/bin/python3 /opt/', w1, '/worker.py --queue ', w2, ' --id ', n",
    "'powershell.exe -NoProfile -ExecutionPolicy Bypass -File C:\\\\ProgramData\\\\', w1, '\\\\run', n, '.ps1'",
    "'cmd.exe /c schtasks /query /tn ', w1, n, ' /fo list'",
    "'curl -fsSL https://', w1, '.example.com/pkg/', n, '.tar.gz -o /tmp/', w2, '.tar.gz'",
    "'C:\\\\Windows\\\\System32\\\\svchost.exe -k ', w1, ' -p -s ', w2",
    "'\"C:\\\\Program Files\\\\', w1, '\\\\', w2, '.exe\" --type=renderer --lang=en --client=', n",
    "'rsync -az /var/lib/', w1, '/ backup@10.1.2.3:/srv/', w2, '-', n, '/'",
    "'rundll32.exe shell32.dll,Control_RunDLL ', w1, '.cpl,', n",
    "'git -C /srv/', w1, ' fetch --depth 3 origin refs/heads/', w2, '-', n",
    "'java -Xmx512m -jar /opt/', w1, '/', w2, '.jar --port ', n",
)


_SETTINGS = {"max_threads": 1, "max_insert_threads": 1, "max_memory_usage": 4_000_000_000}


def end_of(day: datetime) -> datetime:
    return day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def fill(store: TelemetryStore, tenant: str, rows: int, seed: int = 1) -> datetime:
    """Store ``rows`` process events and a quarter as many connections; the start of their time."""
    begin = end_of(datetime.now(UTC)) - timedelta(days=DAYS)
    with store.writer() as client:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            client.command(_processes(tenant, begin, start, count, rows, seed), settings=_SETTINGS)
            connections = _connections(tenant, begin, start // 4, count // 4, rows // 4, seed + 1)
            client.command(connections, settings=_SETTINGS)
            print(f"\r  {start + count:,} of {rows:,} process events", end="", flush=True)
    print()
    return begin


def _chosen(names: tuple[str, ...], salt: int) -> str:
    """SQL of one of the names, the first ones more often."""
    listed = ", ".join(f"'{name}'" for name in names)
    size = len(names)
    return f"[{listed}][1 + toUInt32(floor(pow(bitAnd(cityHash64(i, {salt}), 65535) / 65536, 1.7) * {size}))]"


def _common(tenant: str, begin: datetime, start: int, count: int, total: int, seed: int) -> str:
    step = DAYS * 86_400_000_000 // total
    return (
        f"SELECT number + {start} AS i, '{tenant}' AS TenantId, now64(3) AS IngestionTime, "
        f"toDateTime64('{begin:%Y-%m-%d %H:%M:%S}', 7, 'UTC') + toIntervalMicrosecond(i * {step}) AS Timestamp, "
        f"lower(hex(sipHash128(cityHash64(i, {seed}) % {DEVICES}))) AS DeviceId, "
        f"concat('host', toString(cityHash64(i, {seed}) % {DEVICES}), '.contoso.com') AS DeviceName, "
        f"{_chosen(_WORDS, seed + 2)} AS w1, {_chosen(_WORDS, seed + 3)} AS w2, "
        f"toString(cityHash64(i, {seed + 4}) % 10000000) AS n, "
        f"{_chosen(_PROGRAMS, seed + 5)} AS program, "
        f"concat('user', toString(cityHash64(i, {seed + 6}) % 2000)) AS user "
        f"FROM numbers({count})"
    )


def _line(seed: int) -> str:
    cases = ", ".join(f"t = {number}, concat({template})" for number, template in enumerate(_TEMPLATES[:-1]))
    rare = f"if(cityHash64(i, {seed + 7}) % 1000000 = 0, ' Invoke-Mimikatz -DumpCreds', '')"
    return f"concat(multiIf({cases}, concat({_TEMPLATES[-1]})), {rare})"


def _processes(tenant: str, begin: datetime, start: int, count: int, total: int, seed: int) -> str:
    return (
        "INSERT INTO shieldwall.DeviceProcessEvents (TenantId, IngestionTime, Timestamp, DeviceId, DeviceName, "
        "ActionType, FileName, FolderPath, SHA1, SHA256, ProcessId, ProcessCommandLine, ProcessCreationTime, "
        "AccountDomain, AccountName, InitiatingProcessFileName, InitiatingProcessFolderPath, "
        "InitiatingProcessCommandLine, InitiatingProcessId, InitiatingProcessCreationTime, "
        "InitiatingProcessAccountName, ReportId) "
        "SELECT TenantId, IngestionTime, Timestamp, DeviceId, DeviceName, 'ProcessCreated', program, "
        "concat('/usr/bin/', program), lower(hex(SHA1(concat(program, w1)))), lower(hex(SHA256(concat(program, w1)))), "
        f"cityHash64(i, {seed + 8}) % 65536, {_line(seed)}, Timestamp, 'contoso', user, "
        f"{_chosen(_PROGRAMS, seed + 9)} AS parent, concat('/usr/bin/', parent), concat(parent, ' --service ', w2), "
        f"cityHash64(i, {seed + 10}) % 65536, Timestamp - toIntervalSecond(cityHash64(i, {seed + 11}) % 86400), "
        f"user, i FROM (SELECT *, cityHash64(i, {seed + 12}) % {len(_TEMPLATES)} AS t FROM "
        f"({_common(tenant, begin, start, count, total, seed)}))"
    )


def _connections(tenant: str, begin: datetime, start: int, count: int, total: int, seed: int) -> str:
    return (
        "INSERT INTO shieldwall.DeviceNetworkEvents (TenantId, IngestionTime, Timestamp, DeviceId, DeviceName, "
        "ActionType, RemoteIP, RemotePort, RemoteUrl, LocalIP, LocalPort, Protocol, InitiatingProcessFileName, "
        "InitiatingProcessCommandLine, InitiatingProcessId, InitiatingProcessCreationTime, "
        "InitiatingProcessAccountName, ReportId) "
        "SELECT TenantId, IngestionTime, Timestamp, DeviceId, DeviceName, "
        f"if(cityHash64(i, {seed + 20}) % 10 = 0, 'ConnectionFailed', 'ConnectionSuccess'), "
        f"IPv4NumToString(toUInt32(cityHash64(i, {seed + 21}) % 4294967295)), "
        f"[443, 443, 443, 80, 22, 3389, 445, 8080][1 + cityHash64(i, {seed + 22}) % 8], "
        "concat(w1, '.', w2, '.example.com'), '10.0.0.5', 40000, 'Tcp', program, concat(program, ' --service ', w2), "
        f"cityHash64(i, {seed + 8}) % 65536, Timestamp, user, i "
        f"FROM ({_common(tenant, begin, start, count, total, seed)})"
    )
