"""uvicorn's HTTP protocol, with the verified client certificate's name and serial in the ASGI scope."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PeerCertificateProtocol(HttpToolsProtocol):
    """Adds ``scope["extensions"]["tls"]`` with ``common_name`` and ``serial`` when the client showed one."""

    _peer: dict[str, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = _peer(transport.get_extra_info("ssl_object"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._peer:
            self.scope["extensions"] = {"tls": self._peer}  # type: ignore[dict-item]


def _peer(connection: Any) -> dict[str, str] | None:
    certificate = connection.getpeercert() if connection is not None else None
    if not certificate:
        return None
    names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
    return {
        "common_name": names[0] if len(names) == 1 else "",
        "serial": f"{int(certificate['serialNumber'], 16):x}",
    }
