"""One piece of software, vulnerability or recommendation is answered as it was computed last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from shieldwall.exposure import summaries
from shieldwall.exposure.summaries import KINDS
from tests.api.conftest import DEVICE, Api
from tests.api.inventories import CVE, put, software

WEB = "contoso-_-web_server"
PATHS = {
    "Software": "/api/Software",
    "Vulnerabilities": "/api/vulnerabilities",
    "Recommendations": "/api/recommendations",
}

Fleet = Callable[..., Any]


def tenant_of(fleet: Fleet) -> str:
    return str(fleet.tenant)  # type: ignore[attr-defined]


def test_what_is_kept_equals_what_is_computed(api: Api, fleet: Fleet) -> None:
    computed = {path: fleet(path)["value"] for path in PATHS.values()}
    api.services.summaries.compute(tenant_of(fleet))
    for kind, path in PATHS.items():
        assert len(computed[path]) >= 2
        for item in computed[path]:
            for name in (item["id"], item["id"].upper()):
                assert api.services.summaries.find(tenant_of(fleet), kind, name) is not None
                one = fleet(f"{path}/{quote(name)}")
                one.pop("@odata.context")
                assert one == item


def test_it_is_of_the_tenant_alone(api: Api, fleet: Fleet) -> None:
    nobody = str(uuid4())
    api.services.summaries.compute(tenant_of(fleet))
    api.services.summaries.compute(nobody)
    assert api.services.summaries.find(tenant_of(fleet), "Software", WEB) is not None
    assert api.services.summaries.find(nobody, "Software", WEB) is None


def test_it_is_computed_again_after_inventories_changed(
    api: Api, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = api.services.summaries
    kept.compute(tenant_of(fleet))
    first = fleet.names[DEVICE]  # type: ignore[attr-defined]
    put(api.services.telemetry, "DeviceTvmSoftwareInventory", tenant_of(fleet), first, software("other", "1"))
    assert fleet("/api/Software/contoso-_-tool")["installedMachines"] == 1
    kept.refresh()
    assert fleet("/api/Software/contoso-_-tool")["installedMachines"] == 1, "not again at once"
    assert fleet("/api/Software/contoso-_-other")["installedMachines"] == 1, "what is not kept is computed"
    monkeypatch.setattr(summaries, "APART", 0)
    kept.refresh()
    assert kept.find(tenant_of(fleet), "Software", "contoso-_-other") is not None
    assert kept.find(tenant_of(fleet), "Software", "contoso-_-tool") is None
    assert api.call("GET", "/api/Software/contoso-_-tool", tenant=tenant_of(fleet)).status_code == 404


def test_what_did_not_change_is_not_computed_again_and_stays_good(
    api: Api, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = api.services.summaries
    monkeypatch.setattr(summaries, "APART", 0)
    monkeypatch.setattr(summaries, "SETTLED", timedelta(hours=1))
    kept.refresh()
    made = kept._made[tenant_of(fleet)]
    kept.refresh()
    assert kept._made[tenant_of(fleet)].until > made.until, "a row may still have been on its way"
    monkeypatch.setattr(summaries, "SETTLED", -timedelta(hours=1))
    made = kept._made[tenant_of(fleet)]
    kept.refresh()
    again = kept._made[tenant_of(fleet)]
    assert again.until == made.until
    assert again.expires > made.expires


def test_what_is_too_old_is_not_answered(api: Api, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "SERVED", -1)
    api.services.summaries.compute(tenant_of(fleet))
    assert all(api.services.summaries.find(tenant_of(fleet), kind, WEB) is None for kind in KINDS)
    assert api.services.summaries.find(tenant_of(fleet), "Vulnerabilities", CVE) is None
    assert fleet(f"/api/vulnerabilities/{CVE}")["exposedMachines"] == 2
