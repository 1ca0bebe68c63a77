"""Configuration: every setting comes from an environment variable named ``SHIELDWALL_<FIELD>``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

AUTOMATION_LEVELS = ("full", "core_folders", "non_temp_folders", "all_folders", "none")


@dataclass(frozen=True)
class Settings:
    """How one server runs. Sizes are bytes, times are seconds unless a name says otherwise."""

    data: Path = Path("data")
    """Folder of everything the server keeps: state, telemetry, keys, packages, log."""
    host: str = "127.0.0.1"
    port: int = 8443
    public_url: str = ""
    """How clients reach the server; empty means ``https://<host>:<port>``."""
    database_url: str = ""
    """SQLAlchemy URL of the state; empty means SQLite in the data folder."""
    clickhouse_url: str = ""
    """``clickhouse://user:password@host:port/shieldwall``; empty means embedded chDB in the data folder."""
    clickhouse_cluster: str = ""
    """Name of the ClickHouse cluster; when set, tables are replicated and distributed over it."""
    tls_certificate: str = ""
    """PEM chain of the server's own certificate; empty means one issued by the generated local CA."""
    tls_key: str = ""
    agent_mtls: str = "optional"
    """``optional`` or ``required``: whether agents must present their client certificate to this server."""
    retention_days: int = 30
    retention_by_table: str = ""
    """Days of tables that are kept for another time, such as ``DeviceNetworkEvents=7,DeviceInfo=90``."""
    telemetry_memory: int = 1_000_000_000
    """Most memory that the embedded ClickHouse may use."""
    telemetry_threads: int = 2
    ingest_max_compressed: int = 8 << 20
    ingest_max_expanded: int = 64 << 20
    ingest_max_rows: int = 100_000
    ingest_max_pending: int = 256 << 20
    """Most bytes of accepted but not yet stored batches; above it agents get 429."""
    ingest_max_future: int = 3600
    """How far ahead of the server's clock an event may be."""
    rate_limits: bool = True
    """Whether an application may call an operation only as often as the service documents."""
    hunting_seconds: int = 200
    """How long one hunting query may run."""
    hunting_rows: int = 100_000
    hunting_result_bytes: int = 124 << 20
    hunting_memory: int = 500_000_000
    hunting_calls_per_minute: int = 45
    hunting_calls_per_hour: int = 1500
    hunting_seconds_per_hour: int = 600
    """Running time of a tenant's queries together."""
    hunting_seconds_per_day: int = 3 * 3600
    hunting_external_hosts: str = ""
    """Names of hosts that ``externaldata`` may read files from over HTTPS, with commas between."""
    indicators_per_tenant: int = 1_000_000
    indicator_lookback_days: int = 30
    live_response: bool = True
    """Whether clients may run scripts on devices, and fetch files from them."""
    automation_level: str = "full"
    """How much an automated investigation remediates without asking: ``full``, ``core_folders`` (asks for the
    system's), ``non_temp_folders``, ``all_folders`` (asks for everything) or ``none``."""
    incident_window: int = 24 * 3600
    log_level: str = "INFO"
    log_json: bool = True

    @property
    def url(self) -> str:
        """Base URL of the server, without a slash at the end."""
        return (self.public_url or f"https://{self.host}:{self.port}").rstrip("/")

    @property
    def state_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data / 'state.db'}"

    @property
    def secrets(self) -> Path:
        """Folder of private keys, readable by the server's user only."""
        return self.data / "secrets"

    @property
    def packages(self) -> Path:
        """Folder of what agents uploaded: investigation packages and quarantined samples."""
        return self.data / "packages"

    @property
    def table_days(self) -> dict[str, int]:
        """``retention_by_table`` as data; ValueError when it cannot be read."""
        days: dict[str, int] = {}
        for part in filter(None, map(str.strip, self.retention_by_table.split(","))):
            name, _, number = part.partition("=")
            if not number.strip().isdecimal() or int(number) < 1:
                raise ValueError(f"expected TABLE=DAYS, got {part!r}")
            days[name.strip()] = int(number)
        return days

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read settings from ``environment``, by default the process's own; ValueError names a bad one."""
        source = os.environ if environment is None else environment
        values: dict[str, object] = {}
        for item in fields(cls):
            name = f"SHIELDWALL_{item.name.upper()}"
            text = source.get(name)
            if text is None:
                continue
            try:
                values[item.name] = _parse(text, type(item.default))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        loaded = replace(cls(), **values)  # type: ignore[arg-type]
        if loaded.automation_level not in AUTOMATION_LEVELS:
            raise ValueError(f"SHIELDWALL_AUTOMATION_LEVEL: expected one of {', '.join(AUTOMATION_LEVELS)}")
        try:
            _ = loaded.table_days
        except ValueError as error:
            raise ValueError(f"SHIELDWALL_RETENTION_BY_TABLE: {error}") from None
        return loaded


def _parse(text: str, kind: type) -> object:
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise ValueError(f"expected true or false, got {text!r}")
    if issubclass(kind, Path):
        return Path(text)
    return int(text) if kind is int else text
