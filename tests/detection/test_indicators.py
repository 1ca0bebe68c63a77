"""The indicator list: what goes on it, and what agents learn of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shieldwall.detection import delta
from shieldwall.detection.delta import IndicatorDelta, delta_since
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.values import match_value, url_prefixes
from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal
from shieldwall.state.engine import Database
from shieldwall.times import now, to_text
from tests.conftest import OTHER_TENANT, TENANT

from .conftest import principal

SHA256 = "a" * 64


def body(value: str = SHA256, kind: str = "FileSha256", action: str = "Block", **more: Any) -> dict[str, Any]:
    return {"indicatorType": kind, "indicatorValue": value, "action": action, "title": "t", **more}


def put(service: IndicatorService, *words: str, **more: Any) -> Any:
    return service.create_or_update(TENANT, principal(TENANT), body(*words, **more))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("FileSha1", " AABB" + "0" * 36 + " ", "aabb" + "0" * 36),
        ("IpAddress", "2001:DB8::0001", "2001:db8::1"),
        ("IpAddress", "::ffff:192.0.2.1", "192.0.2.1"),
        ("DomainName", "Evil.Example.", "evil.example"),
        ("DomainName", "bücher.example", "xn--bcher-kva.example"),
        ("Url", "HTTPS://Evil.Example:443/Path/", "evil.example/Path"),
        ("Url", "evil.example/a?b=1", "evil.example/a?b=1"),
        ("Url", "http://192.0.2.1:8080/x", "192.0.2.1:8080/x"),
    ],
)
def test_values_have_one_comparable_form(kind: str, value: str, expected: str) -> None:
    assert match_value(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("FileSha256", "a" * 63, "InvalidHashValue"),
        ("FileMd5", "g" * 32, "InvalidHashValue"),
        ("IpAddress", "10.0.0.0/8", "InvalidIpAddress"),
        ("IpAddress", "fe80::1%eth0", "InvalidIpAddress"),
        ("DomainName", "evil'; DROP TABLE x", "InvalidDomainName"),
        ("DomainName", "single", "InvalidDomainName"),
        ("Url", "javascript://evil.example", "InvalidUrl"),
        ("Url", "http://evil.example/a b", "InvalidUrl"),
        ("DomainName", "a" * 3000, "InvalidInput"),
        ("Nonsense", "x", "InvalidInput"),
    ],
)
def test_bad_values_have_their_documented_code(kind: str, value: str, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        match_value(kind, value)
    assert (refused.value.status, refused.value.code) == (400, code)


def test_a_url_is_covered_by_what_lies_above_it() -> None:
    found = url_prefixes("https://www.evil.example/a/b?c=1")
    assert found[:3] == ["www.evil.example/a/b?c=1", "www.evil.example/a/b", "www.evil.example/a"]
    assert {"www.evil.example", "evil.example"} <= set(found)
    assert "notevil.example" not in found


def test_the_same_value_keeps_its_id(service: IndicatorService) -> None:
    first = put(service)
    second = put(service, SHA256.upper(), action="Audit", severity="High")
    assert (second.id, second.action, second.severity) == (first.id, "Audit", "High")


@pytest.mark.parametrize(
    ("kind", "value", "asked", "action", "alerts"),
    [
        ("FileSha256", SHA256, "Alert", "Audit", True),
        ("FileSha256", SHA256, "AlertAndBlock", "BlockAndRemediate", True),
        ("FileSha256", SHA256, "block", "Block", False),
        ("FileSha256", SHA256, "Audit", "Audit", True),
        ("IpAddress", "192.0.2.1", "BlockAndRemediate", "Block", False),
    ],
)
def test_actions_are_kept_in_todays_words(
    service: IndicatorService, kind: str, value: str, asked: str, action: str, alerts: bool
) -> None:
    made = put(service, value, kind, asked)
    assert (made.action, made.generate_alert) == (action, alerts)


def test_expirations_lie_ahead(service: IndicatorService) -> None:
    assert put(service, expirationTime="2300-01-01T00:00:00+00:00").expiration_time.year == 2300
    for wrong in ("2001-01-01T00:00:00Z", "soon"):
        with pytest.raises(ApiError, match="expirationTime"):
            put(service, expirationTime=wrong)


def test_the_list_has_a_bound(service: IndicatorService) -> None:
    for number in range(50):
        put(service, f"{number:064x}")
    with pytest.raises(ApiError, match="Max capacity exceeded"):
        put(service, "f" * 64)
    put(service, f"{0:064x}", action="Audit")


def test_an_import_tells_of_each_item(service: IndicatorService) -> None:
    results = service.import_many(TENANT, principal(TENANT), [body(), body("short"), body("b" * 64)])
    assert [result["isFailed"] for result in results] == [False, True, False]
    assert "short" in results[1]["failureReason"]
    with pytest.raises(ApiError) as refused:
        service.import_many(TENANT, principal(TENANT), [body()] * 501)
    assert refused.value.code == "MaximumBatchSizeExceeded"


def test_deleting_is_all_or_nothing_and_within_the_tenant(service: IndicatorService) -> None:
    made = put(service)
    for tenant, numbers in ((TENANT, [made.id, made.id + 1]), (OTHER_TENANT, [made.id])):
        with pytest.raises(ApiError) as refused:
            service.delete_many(tenant, principal(tenant), numbers)
        assert refused.value.code == "ResourceNotFound"
    assert service.get(TENANT, made.id).id == made.id
    service.delete(TENANT, principal(TENANT), made.id)
    with pytest.raises(ApiError):
        service.get(TENANT, made.id)


def test_with_ti_readwrite_alone_another_applications_indicators_are_out_of_reach(
    service: IndicatorService,
) -> None:
    theirs = put(service)
    other = Principal(TENANT, "other", "other", frozenset({"Ti.ReadWrite"}))
    with pytest.raises(ApiError) as refused:
        service.create_or_update(TENANT, other, body(action="Allowed"))
    assert (refused.value.status, refused.value.code) == (403, "Forbidden")
    own, foreign = service.import_many(TENANT, other, [body("b" * 64), body(action="Allowed")])
    assert (own["isFailed"], foreign["isFailed"]) == (False, True)
    assert "Another application's" in foreign["failureReason"]
    for numbers in ([theirs.id], [int(own["id"]), theirs.id]):
        with pytest.raises(ApiError) as refused:
            service.delete_many(TENANT, other, numbers)
        assert refused.value.status == 404
    assert service.get(TENANT, theirs.id).action == "Block"
    service.delete(TENANT, other, int(own["id"]))

    everything = Principal(TENANT, "other", "other", frozenset({"Ti.ReadWrite.All"}))
    assert service.create_or_update(TENANT, everything, body(action="Allowed")).id == theirs.id
    service.delete(TENANT, everything, theirs.id)


def test_an_update_leaves_an_indicator_with_its_owner(service: IndicatorService) -> None:
    first = put(service, application="Feed A")
    everything = Principal(TENANT, "other", "other", frozenset({"Ti.ReadWrite.All"}))
    for more in ({"application": "Feed B"}, {}):
        changed = service.create_or_update(TENANT, everything, body(title="new", **more))
        assert (changed.id, changed.title, changed.application) == (first.id, "new", "Feed A")
        assert (changed.created_by, changed.last_updated_by) == ("app-id", "other")


def since(database: Database, revision: int, group: str = "", tenant: str = TENANT) -> IndicatorDelta | None:
    with database.read(tenant) as session:
        return delta_since(session, tenant, revision, group)


def test_an_agent_learns_what_it_lacks(service: IndicatorService, database: Database) -> None:
    assert since(database, 0) is None
    first = put(service)
    whole = since(database, 0)
    assert whole is not None
    assert (whole.full, [entry["value"] for entry in whole.upsert]) == (True, [SHA256])
    assert since(database, whole.end) is None
    second = put(service, "b" * 64)
    service.delete(TENANT, principal(TENANT), first.id)
    change = since(database, whole.end)
    assert change is not None
    assert (change.full, change.delete) == (False, [str(first.id)])
    assert [entry["id"] for entry in change.upsert] == [str(second.id)]
    ahead = since(database, change.end + 100)
    assert ahead is not None
    assert ahead.full
    assert since(database, 0, tenant=OTHER_TENANT) is None


def test_a_long_list_comes_in_pages(
    service: IndicatorService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "PAGE", 3)
    for number in range(8):
        put(service, f"{number:064x}")
    revision, values, fulls = 0, [], []
    while page := since(database, revision):
        values += [entry["value"] for entry in page.upsert]
        fulls.append(page.full)
        revision = page.end
    assert sorted(values) == [f"{number:064x}" for number in range(8)]
    assert fulls == [True, False, False]


def test_a_device_learns_of_its_groups_only(service: IndicatorService, database: Database) -> None:
    made = put(service, rbacGroupNames=["Servers"])
    servers, others = since(database, 0, "Servers"), since(database, 0, "Clients")
    assert servers is not None
    assert others is not None
    assert [entry["id"] for entry in servers.upsert] == [str(made.id)]
    assert others.upsert == []


def test_what_expires_is_taken_off_and_agents_are_told(
    service: IndicatorService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(service, "b" * 64)
    made = put(service, expirationTime=to_text(now() + timedelta(hours=1)))
    assert service.expire() == 0
    before = since(database, 0)
    assert before is not None
    later = now() + timedelta(hours=2)
    monkeypatch.setattr("shieldwall.detection.indicators.now", lambda: later)
    assert service.expire() == 1
    change = since(database, before.end)
    assert change is not None
    assert change.delete == [str(made.id)]
    assert service.expire() == 0
