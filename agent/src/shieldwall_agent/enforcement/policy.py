"""The indicator list on the device, in one SQLite file of the agent's state folder.

The responder process writes it; the gate process reads it, so that a restarted gate enforces before any
server answers, and a hundred thousand indicators cost no memory. Expiry is to the second: an expired row
never matches, and `expire` deletes it. A value that is not well formed is refused here, so nothing hostile
reaches nft or the kernel.

Conflicts on one value: files Block(AndRemediate) > Warn > Audit > Allowed, network Allowed > Warn > Block
> Audit; SHA-256 beats SHA-1 beats MD5; the longest matching domain wins. `Warn` is enforced as a block
with its own text, as Linux has nobody to ask; certificates and URLs with a path are matched by the
server only.
"""

import ipaddress
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FILE_NAME = "indicators.sqlite"
HASH_LENGTHS = {"FileSha256": 64, "FileSha1": 40, "FileMd5": 32}  # hex digits, in order of precedence
ACTIONS = ("Allowed", "Audit", "Warn", "Block", "BlockAndRemediate")
DENYING = ("Block", "BlockAndRemediate", "Warn")
LARGEST_VALUE = 2048  # characters

_FILE_RANK = ("BlockAndRemediate", "Block", "Warn", "Audit", "Allowed")
_NETWORK_RANK = ("Allowed", "Warn", "Block", "BlockAndRemediate", "Audit")
_COLUMNS = "id, type, value, action, severity, title, generate_alert, expires"
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS indicators (
  id TEXT PRIMARY KEY, type TEXT NOT NULL, value TEXT NOT NULL, action TEXT NOT NULL, severity TEXT NOT NULL,
  title TEXT NOT NULL, generate_alert INTEGER NOT NULL, expires REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_value ON indicators (type, value);
CREATE INDEX IF NOT EXISTS by_expiry ON indicators (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Indicator:
    id: str
    type: str  # FileSha256, FileSha1, FileMd5, IpAddress, DomainName, Url, CertificateThumbprint
    value: str  # normalised
    action: str
    severity: str
    title: str
    generate_alert: bool
    expires: float | None  # unix seconds

    @property
    def denies(self) -> bool:
        return self.action in DENYING


@dataclass(frozen=True, slots=True)
class Changes:
    """What one delta or expiry did. `rejected` holds (id, reason)."""

    upserted: tuple[Indicator, ...] = ()
    removed: tuple[Indicator, ...] = ()
    full: bool = False
    rejected: tuple[tuple[str, str], ...] = ()


class RevisionGap(Exception):
    """The delta does not start where this list stands; ask the server again with the revision held."""


Listener = Callable[[Changes], None]


class PolicyStore:
    """Usable from several threads. `read_only` is for the gate, which never writes."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        if not read_only:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / FILE_NAME
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._database = self._open()
        self._database.execute("PRAGMA cache_size = -512")
        if read_only:
            self._database.execute("PRAGMA query_only = 1")

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # Not a database any more. Revision 0 makes the server send the whole list again.
            self._path.replace(self._path.with_suffix(".damaged"))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=5)
        self._path.chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
        return database

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def listen(self, listener: Listener) -> None:
        """`listener` is called, in the changing thread, after each change is durable."""
        self._listeners.append(listener)

    @property
    def revision(self) -> int:
        with self._lock:
            row = self._database.execute("SELECT value FROM state WHERE name = 'revision'").fetchone()
        return int(row[0]) if row else 0

    @property
    def version(self) -> int:
        """Differs whenever another process has changed the list."""
        with self._lock:
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def apply_delta(self, body: Mapping[str, Any]) -> Changes:
        """Apply an `indicators` message; raises RevisionGap, or ValueError for a body of the wrong shape."""
        try:
            first, last, full = int(body["from"]), int(body["to"]), bool(body.get("full", False))
            entries, deletions = list(body.get("upsert", ())), [str(i) for i in body.get("delete", ())]
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an indicator delta: {error}") from error
        upserts: list[Indicator] = []
        rejected: list[tuple[str, str]] = []
        for entry in entries:
            try:
                upserts.append(parse(entry))
            except (ValueError, TypeError, KeyError) as error:
                rejected.append((str(entry.get("id"))[:80] if isinstance(entry, dict) else "?", str(error)))
        with self._lock:
            held = self.revision
            if not full and last <= held:
                return Changes()
            if not full and first > held:
                raise RevisionGap(f"the delta starts at {first}, the list is at {held}")
            # An indicator that changed to something unusable must not stay enforced in its old form.
            replaced = [*deletions, *(i.id for i in upserts), *(identity for identity, _ in rejected)]
            self._database.execute("BEGIN IMMEDIATE")
            try:
                removed = self._select("") if full else self._by_ids(replaced)
                if full:
                    self._database.execute("DELETE FROM indicators")
                else:
                    self._database.executemany(
                        "DELETE FROM indicators WHERE id = ?", [(identity,) for identity in replaced]
                    )
                self._database.executemany(
                    "INSERT OR REPLACE INTO indicators VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [_row(indicator) for indicator in upserts],
                )
                self._database.execute("INSERT OR REPLACE INTO state VALUES ('revision', ?)", (last,))
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
        changes = Changes(tuple(upserts), tuple(removed), full, tuple(rejected))
        self._tell(changes)
        return changes

    def expire(self, now: float | None = None) -> Changes:
        """Delete what has expired."""
        moment = time.time() if now is None else now
        with self._lock:
            removed = self._select("WHERE expires <= ?", moment)
            if removed:
                self._database.execute("DELETE FROM indicators WHERE expires <= ?", (moment,))
        changes = Changes(removed=tuple(removed))
        if removed:
            self._tell(changes)
        return changes

    def next_expiry(self) -> float | None:
        with self._lock:
            row = self._database.execute(
                "SELECT min(expires) FROM indicators WHERE expires IS NOT NULL"
            ).fetchone()
        return None if row[0] is None else float(row[0])

    def file_kinds(self) -> tuple[str, ...]:
        """The kinds of file hash that the list asks for, in order of precedence."""
        query = "SELECT EXISTS (SELECT 1 FROM indicators WHERE type = ?)"
        with self._lock:
            return tuple(k for k in HASH_LENGTHS if self._database.execute(query, (k,)).fetchone()[0])

    def file_rule(self, hashes: Mapping[str, str]) -> Indicator | None:
        """The rule for a file with these hashes (kind to lower-case hex)."""
        for kind in HASH_LENGTHS:
            if value := hashes.get(kind):
                found = self._matching(kind, value)
                if found:
                    return min(found, key=lambda i: _FILE_RANK.index(i.action))
        return None

    def file_rules(self, kind: str) -> dict[str, tuple[str, float | None]]:
        """Action and expiry of the rule for each listed hash of one kind."""
        query = "SELECT value, action, expires FROM indicators WHERE type = ?"
        now = time.time()
        rules: dict[str, tuple[str, float | None]] = {}
        with self._lock:
            for value, action, expires in self._database.execute(query, (kind,)):
                if expires is not None and expires <= now:
                    continue
                held = rules.get(value)
                if held is None or _FILE_RANK.index(action) < _FILE_RANK.index(held[0]):
                    rules[value] = (sys.intern(action), expires)
        return rules

    def address_rules(self) -> dict[str, Indicator]:
        """Each listed address, and the host of each URL that is an address without a path."""
        return self._network_rules(address_of)

    def domain_rules(self) -> dict[str, Indicator]:
        """Each listed domain, and the host of each URL without a path. `Allowed` ones make exceptions."""
        return self._network_rules(domain_of)

    def all(self) -> list[Indicator]:
        with self._lock:
            return self._select("")

    def _network_rules(self, key_of: Callable[[Indicator], str | None]) -> dict[str, Indicator]:
        with self._lock:
            candidates = self._select(
                "WHERE type IN ('IpAddress', 'DomainName', 'Url') AND (expires IS NULL OR expires > ?)",
                time.time(),
            )
        rules: dict[str, Indicator] = {}
        for indicator in candidates:
            if key := key_of(indicator):
                held = rules.get(key)
                if held is None or _NETWORK_RANK.index(indicator.action) < _NETWORK_RANK.index(held.action):
                    rules[key] = indicator
        return rules

    def _matching(self, kind: str, value: str) -> list[Indicator]:
        condition = "WHERE type = ? AND value = ? AND (expires IS NULL OR expires > ?)"
        with self._lock:
            return self._select(condition, kind, value, time.time())

    def _by_ids(self, identities: Iterable[str]) -> list[Indicator]:
        return [row for identity in identities for row in self._select("WHERE id = ?", identity)]

    def _select(self, condition: str, *parameters: Any) -> list[Indicator]:
        query = f"SELECT {_COLUMNS} FROM indicators {condition}"  # noqa: S608
        cursor = self._database.execute(query, parameters)
        return [_indicator(row) for row in cursor]

    def _tell(self, changes: Changes) -> None:
        for listener in self._listeners:
            listener(changes)


def parse(entry: Mapping[str, Any]) -> Indicator:
    """One indicator of a message; raises ValueError, TypeError or KeyError when it is not well formed."""
    kind, action = str(entry["type"]), str(entry["action"])
    if action not in ACTIONS:
        raise ValueError(f"unknown action {action[:40]!r}")
    expires = entry.get("expires")
    return Indicator(
        id=str(entry["id"])[:80],
        type=kind,
        value=normalise(kind, str(entry["value"])),
        action=action,
        severity=str(entry.get("severity") or "Informational")[:40],
        title=str(entry.get("title") or "")[:500],
        generate_alert=bool(entry.get("generate_alert", False)),
        expires=None if expires in (None, "") else _unix(str(expires)),
    )


def normalise(kind: str, value: str) -> str:
    """The one written form of a value; raises ValueError."""
    text = value.strip().lower() if kind != "Url" else value.strip()
    if not text or len(text) > LARGEST_VALUE:
        raise ValueError("an empty or too long value")
    if length := HASH_LENGTHS.get(kind):
        if len(text) != length or not re.fullmatch("[0-9a-f]+", text):
            raise ValueError(f"{kind} is not {length} hex digits")
        return text
    if kind == "IpAddress":
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id:
                raise ValueError("an address with a zone")
            return str(address.ipv4_mapped or address)
        return str(address)
    if kind == "DomainName":
        return _domain(text)
    if kind == "Url":
        if any(ord(c) <= 32 or ord(c) == 127 for c in text):
            raise ValueError("a URL with spaces or control characters")
        return text
    if kind == "CertificateThumbprint":
        if not re.fullmatch("[0-9a-f]{40,64}", text):
            raise ValueError("a thumbprint that is not hex")
        return text
    raise ValueError(f"unknown type {kind[:40]!r}")


def address_of(indicator: Indicator) -> str | None:
    if indicator.type == "IpAddress":
        return indicator.value
    host = _whole_host(indicator)
    try:
        return normalise("IpAddress", host) if host else None
    except ValueError:
        return None


def domain_of(indicator: Indicator) -> str | None:
    if indicator.type == "DomainName":
        return indicator.value
    host = _whole_host(indicator)
    if not host or address_of(indicator):
        return None
    try:
        return _domain(host)
    except ValueError:
        return None


def longest_match(name: str, rules: Mapping[str, Indicator]) -> Indicator | None:
    """The rule for a name: its own, else that of its nearest listed parent domain; none that has expired."""
    labels = name.rstrip(".").lower().split(".")
    for start in range(len(labels)):
        rule = rules.get(".".join(labels[start:]))
        if rule and (rule.expires is None or rule.expires > time.time()):
            return rule
    return None


def _whole_host(indicator: Indicator) -> str | None:
    """The host of a URL that names nothing narrower than the host."""
    if indicator.type != "Url":
        return None
    text = indicator.value if "://" in indicator.value else "//" + indicator.value
    try:
        parts = urlsplit(text)
        narrower = parts.path not in ("", "/") or parts.query or parts.fragment or parts.port is not None
    except ValueError:
        return None
    return None if narrower else parts.hostname


def _domain(text: str) -> str:
    name = text.rstrip(".")
    if not name.isascii():
        name = name.encode("idna").decode()
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("not a domain name")
    return name


def _unix(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _indicator(row: tuple[Any, ...]) -> Indicator:
    identity, kind, value, action, severity, title, generate_alert, expires = row
    return Indicator(identity, kind, value, action, severity, title, bool(generate_alert), expires)


def _row(indicator: Indicator) -> tuple[Any, ...]:
    return tuple(getattr(indicator, name.strip()) for name in _COLUMNS.split(","))
