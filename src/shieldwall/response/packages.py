"""What agents upload for an action, and the signed, expiring links with which clients fetch it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

from shieldwall.errors import ApiError, bad_request
from shieldwall.identity.private_files import locked, private_folder, write_file
from shieldwall.settings import Settings

PACKAGE_BYTES = 1 << 30
LINK_SECONDS = 1800
KEPT_SECONDS = 30 * 86400


class PackageStore:
    """Packages as files named by their action's id, which the server chose; no name comes from outside."""

    def __init__(self, settings: Settings) -> None:
        self._folder = private_folder(settings.packages)
        self._url = settings.url
        path = settings.secrets / "download.key"
        with locked(settings.secrets):
            if not path.exists():
                write_file(path, secrets.token_bytes(32))
        self._key = path.read_bytes()

    async def receive(
        self, action_id: str, body: AsyncIterator[bytes], digest: str, index: int | None = None
    ) -> int:
        """Store an upload, durable when its size is returned; ApiError 400 on another SHA-256.

        ``index`` tells the results of a live response's commands apart.
        """
        target = self._path(action_id, index)
        scratch = target.with_suffix(f".{secrets.token_hex(8)}.part")
        size = 0
        seen = hashlib.sha256()
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                async for part in body:
                    size += len(part)
                    if size > PACKAGE_BYTES:
                        raise ApiError(413, "InvalidInput", f"A package has at most {PACKAGE_BYTES} bytes.")
                    seen.update(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if not hmac.compare_digest(seen.hexdigest(), digest.lower()):
                raise bad_request("The package does not have the SHA-256 that was sent with it.")
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
        return size

    def has(self, action_id: str, index: int | None = None) -> bool:
        return self._path(action_id, index).exists()

    def link(self, tenant_id: str, action_id: str, index: int | None = None) -> str:
        """An address from which an upload can be fetched for half an hour without a token."""
        expires = int(time.time()) + LINK_SECONDS
        signature = self._sign(tenant_id, _name(action_id, index), expires)
        query = urlencode({"se": expires, "sig": signature, "tid": tenant_id})
        place = "InvestigationPackage.zip" if index is None else f"LiveResponse/{index}"
        return f"{self._url}/downloads/{action_id}/{place}?{query}"

    def open_link(
        self, tenant_id: str, action_id: str, expires: str, signature: str, index: int | None = None
    ) -> Path:
        """The file behind a link; ApiError 403 when the link is not ours or over, 404 when it is gone."""
        try:
            until = int(expires)
            path = self._path(action_id, index)
        except ValueError:
            raise ApiError(403, "Forbidden", "The link is not valid.") from None
        # What we signed is ASCII; other texts could not even be compared.
        if not (tenant_id.isascii() and signature.isascii()):
            raise ApiError(403, "Forbidden", "The link is not valid.")
        if not hmac.compare_digest(self._sign(tenant_id, _name(action_id, index), until), signature):
            raise ApiError(403, "Forbidden", "The link is not valid.")
        if until < time.time():
            raise ApiError(403, "Forbidden", "Signature not valid in the specified key time frame")
        if not path.exists():
            raise ApiError(404, "NotFound", "The file is no longer kept.")
        return path

    def prune(self) -> None:
        """Remove packages that are older than what is kept, and what broken uploads left."""
        oldest = time.time() - KEPT_SECONDS
        for path in self._folder.iterdir():
            limit = time.time() - 86400 if path.suffix == ".part" else oldest
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)

    def _path(self, action_id: str, index: int | None = None) -> Path:
        name = str(UUID(action_id))
        return self._folder / (f"{name}.zip" if index is None else f"{name}.{index}.result")

    def _sign(self, tenant_id: str, name: str, expires: int) -> str:
        text = f"{tenant_id}\n{name}\n{expires}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _name(action_id: str, index: int | None) -> str:
    return action_id if index is None else f"{action_id}/{index}"
