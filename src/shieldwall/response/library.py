"""The live response library: files that can be put on devices and run there, by their names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String, Text, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from shieldwall.errors import ApiError, bad_request, not_found
from shieldwall.identity import audit
from shieldwall.identity.principal import Principal
from shieldwall.identity.private_files import locked, private_folder, write_file
from shieldwall.settings import Settings
from shieldwall.state.base import Base, TenantOwned, UtcDateTime
from shieldwall.state.engine import Database
from shieldwall.times import now

FILE_BYTES = 20 << 20
LIBRARY_BYTES = 250 << 20
"""Most bytes of all files of a tenant."""

RULE_SUFFIXES = (".yar", ".yara")
RULES = 100
"""Most rule files of one scan."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class LibraryFile(TenantOwned, Base):
    """A file of the library; its content lies in the data folder under its hash."""

    __tablename__ = "library_files"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(String(255))
    """The name in lower case: two names that differ by case only are one file."""
    file_name: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column()
    description: Mapped[str | None] = mapped_column(Text)
    parameters_description: Mapped[str | None] = mapped_column(Text)
    has_parameters: Mapped[bool] = mapped_column(default=False)
    creation_time: Mapped[datetime] = mapped_column(UtcDateTime)
    last_updated_time: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(200))

    __table_args__ = (Index(None, "tenant_id", "key", unique=True),)


class Library:
    """Files of every tenant. Names come from outside and never become paths: contents lie under hashes."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._folder = private_folder(settings.data / "library")

    def put(
        self,
        principal: Principal,
        name: str,
        content: bytes,
        *,
        description: str | None = None,
        parameters_description: str | None = None,
        has_parameters: bool = False,
        override: bool = False,
    ) -> LibraryFile:
        """Add a file, or with ``override`` replace it; ApiError 400 for a bad name, 413 for too much."""
        if not _NAME.fullmatch(name):
            raise bad_request("A file name may have letters, digits, '-', '_' and '.' only.")
        if not content:
            raise bad_request("The file is empty.")
        if len(content) > FILE_BYTES:
            raise ApiError(413, "RequestEntityTooLarge", f"A library file has at most {FILE_BYTES} bytes.")
        digest = hashlib.sha256(content).hexdigest()
        with self._database.read(principal.tenant_id) as session:
            # Before anything is written: what is refused must not fill the disk.
            _admit(session, name, len(content), override)
        path = self._path(principal.tenant_id, digest)
        private_folder(path.parent)
        # What is removed as unused is old; a content that is there already becomes new by being wanted again.
        with locked(self._folder):
            if path.exists():
                os.utime(path)
            else:
                write_file(path, content)
        told = {
            "file_name": name,
            "sha256": digest,
            "size": len(content),
            "description": description,
            "parameters_description": parameters_description,
            "has_parameters": has_parameters,
        }
        try:
            return self._store(principal, told, override)
        except IntegrityError:
            # Somebody else has just added a file of that name, which from now on is there to be seen.
            return self._store(principal, told, override)

    def _store(self, principal: Principal, told: Mapping[str, Any], override: bool) -> LibraryFile:
        name, time = str(told["file_name"]), now()
        with self._database.session(principal.tenant_id) as session:
            row = _admit(session, name, told["size"], override)
            if row is None:
                row = LibraryFile(key=name.lower(), creation_time=time)
                session.add(row)
            for column, value in told.items():
                setattr(row, column, value)
            row.last_updated_time = time
            row.created_by = (principal.name or principal.application_id)[:200]
            detail = {"sha256": told["sha256"], "size": told["size"]}
            audit.record(session, principal, "library.upload", name, detail=detail)
        return row

    def delete(self, principal: Principal, name: str) -> None:
        """ApiError 404 when there is no such file."""
        with self._database.session(principal.tenant_id) as session:
            row = _named(session, name)
            if row is None:
                raise not_found("Library file", name[:100])
            session.delete(row)
            audit.record(session, principal, "library.delete", row.file_name, detail={"sha256": row.sha256})

    def find(self, tenant_id: str, name: str) -> dict[str, Any] | None:
        """What an agent is told of a file: its name, hash and size."""
        with self._database.read(tenant_id) as session:
            row = _named(session, name)
            return None if row is None else _told(row)

    def rules(self, tenant_id: str) -> list[dict[str, Any]]:
        """The YARA rules, with which devices are scanned: files that end in ``.yar`` or ``.yara``."""
        rules = or_(*(LibraryFile.key.endswith(suffix) for suffix in RULE_SUFFIXES))
        with self._database.read(tenant_id) as session:
            rows = session.scalars(select(LibraryFile).where(rules).order_by(LibraryFile.key).limit(RULES))
            return [_told(row) for row in rows]

    def content(self, tenant_id: str, digest: str) -> Path | None:
        """The file with this SHA-256, as long as it is kept."""
        path = self._path(tenant_id, digest) if _SHA256.fullmatch(digest) else None
        return path if path and path.exists() else None

    def prune(self) -> None:
        """Remove contents that no file has any more; those of the last days may still be asked for."""
        oldest = now().timestamp() - 4 * 86400
        with self._database.system_read() as session:
            rows = session.execute(select(LibraryFile.tenant_id, LibraryFile.sha256)).all()
            kept = {(tenant, digest) for tenant, digest in rows}
        for path in self._folder.glob("*/*"):
            if (path.parent.name, path.name) not in kept:
                with locked(self._folder):
                    if path.stat().st_mtime < oldest:
                        path.unlink()

    def _path(self, tenant_id: str, digest: str) -> Path:
        return self._folder / str(UUID(tenant_id)) / digest


def _told(row: LibraryFile) -> dict[str, Any]:
    return {"name": row.file_name, "sha256": row.sha256, "size": row.size}


def _named(session: Session, name: str) -> LibraryFile | None:
    return session.scalar(select(LibraryFile).where(LibraryFile.key == name.strip().lower()[:256]))


def _admit(session: Session, name: str, size: int, override: bool) -> LibraryFile | None:
    """The file that one of this name and size would replace; ApiError 400 where it may not be added."""
    row = _named(session, name)
    if row is not None and not override:
        raise bad_request(f"File {row.file_name} exists already.")
    if _stored(session, except_id=row.id if row else None) + size > LIBRARY_BYTES:
        raise bad_request(f"The library has at most {LIBRARY_BYTES} bytes.", "InvalidInput")
    return row


def _stored(session: Session, except_id: int | None) -> int:
    sizes = select(func.coalesce(func.sum(LibraryFile.size), 0))
    if except_id is not None:
        sizes = sizes.where(LibraryFile.id != except_id)
    return int(session.scalar(sizes) or 0)
