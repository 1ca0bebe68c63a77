"""Whose key a request is checked with: a device that other sensors tell of has none, and lets nobody in."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from starlette.requests import Request

from shieldwall.devices.named import find_or_add
from shieldwall.errors import ApiError
from shieldwall.gateway import authentication
from shieldwall.gateway.authentication import Nonces, authenticate
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from tests.conftest import TENANT


def test_a_device_without_an_agent_is_refused_like_an_unknown_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.session(TENANT) as session:
        told = find_or_add(session, TENANT, {"db01.contoso.com": "Windows10"})["db01.contoso.com"].id
    services = SimpleNamespace(database=database, settings=Settings())
    app = SimpleNamespace(state=SimpleNamespace(services=services, nonces=Nonces()))
    checked: list[bytes] = []

    class Counted:
        @staticmethod
        def from_public_bytes(raw: bytes) -> Ed25519PublicKey:
            checked.append(raw)
            return Ed25519PublicKey.from_public_bytes(raw)

    monkeypatch.setattr(authentication, "Ed25519PublicKey", Counted)
    refusals = []
    for device_id in (told, "0" * 40):
        moment, nonce = str(int(time.time())), "0" * 32
        text = "\n".join(("GET", "/agent/v1/messages", moment, nonce, "digest"))
        signature = b64encode(Ed25519PrivateKey.generate().sign(text.encode())).decode()
        header = f'Shieldwall device="{device_id}", time="{moment}", nonce="{nonce}", signature="{signature}"'
        scope = {
            "type": "http", "method": "GET", "path": "/agent/v1/messages", "raw_path": b"/agent/v1/messages",
            "query_string": b"", "headers": [(b"authorization", header.encode())], "app": app,
        }  # fmt: skip
        with pytest.raises(ApiError) as refused:
            asyncio.run(authenticate(Request(scope), "digest"))
        refusals.append((refused.value.status, refused.value.message))
    assert refusals[0] == refusals[1]
    assert refusals[0][1] == "The request's signature is not valid."
    assert [len(raw) for raw in checked] == [32, 32], "one signature is checked for each"
