"""Links to packages: good ones open their file, all others are refused as links, never as errors."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from shieldwall.errors import ApiError
from shieldwall.response.packages import PackageStore
from shieldwall.settings import Settings
from tests.conftest import OTHER_TENANT, TENANT


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(Settings(data=tmp_path))


def refusal(store: PackageStore, *parts: str) -> int:
    with pytest.raises(ApiError) as caught:
        store.open_link(*parts)
    return caught.value.status


def test_only_the_very_link_opens(store: PackageStore) -> None:
    action = str(uuid4())
    query = parse_qs(urlsplit(store.link(TENANT, action)).query)
    expires, signature = query["se"][0], query["sig"][0]
    assert refusal(store, TENANT, action, expires, signature) == 404, "a good link to what is gone"
    assert refusal(store, OTHER_TENANT, action, expires, signature) == 403
    assert refusal(store, TENANT, str(uuid4()), expires, signature) == 403
    assert refusal(store, "ä\udcff", action, expires, signature) == 403
    assert refusal(store, TENANT, action, str(int(expires) + 1), signature) == 403


@pytest.mark.parametrize("signature", ["", "ä" * 64, "\udcff", "0" * 64, "é", "\x00"])
def test_any_other_signature_is_refused(store: PackageStore, signature: str) -> None:
    action = str(uuid4())
    expires = parse_qs(urlsplit(store.link(TENANT, action)).query)["se"][0]
    assert refusal(store, TENANT, action, expires, signature) == 403


@pytest.mark.parametrize("expires", ["", "x", "٣", "1" * 5000, "-1"])
def test_any_other_end_is_refused(store: PackageStore, expires: str) -> None:
    assert refusal(store, TENANT, str(uuid4()), expires, "0" * 64) == 403
