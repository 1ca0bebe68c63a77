"""Signed, expiring addresses of export files, which are fetched without a token.

A file is made while it is fetched: its rows are those of the moment that the link names, so that nothing has
to be kept, and every file of one export shows the same moment.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

import orjson

from shieldwall.errors import ApiError
from shieldwall.identity.private_files import locked, write_file
from shieldwall.settings import Settings
from shieldwall.state.scope import DeviceScope, Reach
from shieldwall.times import now, parse, to_text

VERSION = "2026-01-01"
"""Of the service, as links to files of a store name it."""


@dataclass(frozen=True)
class ExportFile:
    """One file of an export: part ``part`` of ``parts`` of what ``kind`` held at ``moment``.

    It has the devices that whoever asked for the link may see, and no others: ``reach``.
    """

    tenant_id: str
    kind: str
    moment: datetime
    part: int
    parts: int
    reach: Reach = None

    @property
    def path(self) -> str:
        folder = self.moment.strftime("%Y-%m-%d/%H%M")
        name = f"part-{self.part:05}-{self._unique}.c000.json.gz"
        return f"/downloads/exports/{folder}/{self.kind}/json/OrgId={self.tenant_id}/{name}"

    @property
    def _unique(self) -> str:
        digest = hashlib.sha256(f"{self.tenant_id}{self.kind}{to_text(self.moment)}".encode()).hexdigest()
        return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


class ExportLinks:
    """Makes and opens the links; the key is made at first use, readable by the server's user only."""

    def __init__(self, settings: Settings) -> None:
        path = settings.secrets / "export.key"
        with locked(settings.secrets):
            if not path.exists():
                write_file(path, secrets.token_bytes(32))
        self._key = path.read_bytes()

    def link(self, base: str, file: ExportFile, hours: int) -> str:
        """An address of ``file`` under ``base`` that holds for ``hours``."""
        expires = to_text((now() + timedelta(hours=hours)).replace(microsecond=0))
        query = {
            "sv": VERSION,
            "st": to_text(file.moment),
            "se": expires,
            "sr": "b",
            "sp": "r",
            "n": f"{file.part}-{file.parts}",
            **({} if file.reach is None else {"g": _groups(file.reach)}),
        }
        return f"{base}{file.path}?{urlencode({**query, 'sig': self._sign(file, expires)})}"

    def open(self, path: str, tenant_id: str, kind: str, query: Mapping[str, str]) -> ExportFile:
        """The file behind a link; ApiError 403 where it is not ours or over."""
        invalid = ApiError(403, "Forbidden", "The link is not valid.")
        try:
            part, _, parts = query["n"].partition("-")
            reach = _reach(query["g"]) if "g" in query else None
            file = ExportFile(tenant_id, kind, parse(query["st"]), int(part), int(parts), reach)
            expires, signature = query["se"], query["sig"].encode()
            until = parse(expires)
        except (KeyError, TypeError, ValueError):
            raise invalid from None
        if file.path != path or not hmac.compare_digest(self._sign(file, expires).encode(), signature):
            raise invalid
        if until.timestamp() < time.time():
            raise ApiError(403, "Forbidden", "Signature not valid in the specified key time frame")
        return file

    def _sign(self, file: ExportFile, expires: str) -> str:
        groups = "" if file.reach is None else _groups(file.reach)
        text = f"{file.path}\n{to_text(file.moment)}\n{file.part}-{file.parts}\n{expires}\n{groups}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _groups(reach: DeviceScope) -> str:
    """Device groups as a link names them: never empty, even where there are none."""
    found = orjson.dumps([sorted(reach.groups), sorted(reach.names)])
    return base64.urlsafe_b64encode(found).decode().rstrip("=")


def _reach(text: str) -> DeviceScope:
    """ValueError for what no link of ours says."""
    groups, names = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return DeviceScope(frozenset(map(int, groups)), frozenset(map(str, names)))
