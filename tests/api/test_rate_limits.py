"""How often one application may call one operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from shieldwall.api.contract import Limit, load
from shieldwall.api.rate_limits import HUNTING, RateLimits, documented_limits
from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal
from tests.api.conftest import DEVICE, Api
from tests.conftest import OTHER_TENANT, TENANT

MINUTE = Limit(3, 60)
HOUR = Limit(5, 3600)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(api: Api, clock: Clock) -> Iterator[Api]:
    """The application with its limits on, and a clock that stands."""
    app = api.http.app
    before = app.state.limits
    api.services.settings = replace(api.services.settings, rate_limits=True)
    app.state.limits = RateLimits(documented_limits(), clock)
    yield api
    app.state.limits = before


def caller(name: str = "one", tenant: str = TENANT) -> Principal:
    return Principal(tenant, name, name, frozenset())


def refused(limits: RateLimits, who: Principal | None = None) -> ApiError | None:
    try:
        limits.admit(who or caller(), "GET", "/api/things/{thing_id}")
    except ApiError as error:
        return error
    return None


def new(clock: Clock, *limits: Limit) -> RateLimits:
    return RateLimits({("GET", "/api/things/{}"): limits}, clock)


def test_a_window_slides(clock: Clock) -> None:
    limits = new(clock, MINUTE)
    for second in (0, 10, 20):
        clock.now = 1000 + second
        assert refused(limits) is None
    clock.now = 1030
    assert (error := refused(limits)) is not None
    assert error.headers == {"Retry-After": "30"}
    clock.now = 1059.5
    assert (error := refused(limits)) is not None
    assert error.headers == {"Retry-After": "1"}
    clock.now = 1060
    assert refused(limits) is None, "the first call has left the window"
    assert (error := refused(limits)) is not None
    assert error.headers == {"Retry-After": "10"}, "the second has not"


def test_refused_calls_do_not_count(clock: Clock) -> None:
    limits = new(clock, MINUTE)
    for _ in range(50):
        refused(limits)
    clock.now += 60
    assert [refused(limits) is None for _ in range(4)] == [True, True, True, False]


def test_the_limit_that_was_hit_is_named(clock: Clock) -> None:
    limits = new(clock, MINUTE, HOUR)
    for _ in range(3):
        assert refused(limits) is None
    assert (error := refused(limits)) is not None
    assert "3 per minute" in error.message
    clock.now += 61
    for _ in range(2):
        assert refused(limits) is None
    assert (error := refused(limits)) is not None
    assert (error.status, error.code) == (429, "TooManyRequests")
    assert "5 per hour" in error.message
    assert error.headers == {"Retry-After": str(3600 - 61)}


def test_applications_and_tenants_are_counted_apart(clock: Clock) -> None:
    limits = new(clock, MINUTE)
    while refused(limits) is None:
        pass
    assert refused(limits, caller("two")) is None
    assert refused(limits, caller("one", OTHER_TENANT)) is None
    assert refused(limits) is not None


def test_who_has_not_called_for_an_hour_is_forgotten(clock: Clock) -> None:
    limits = new(clock, MINUTE)
    for number in range(100):
        refused(limits, caller(str(number)))
    clock.now += 3601
    refused(limits)
    assert len(limits._calls) == 1


def test_limits_are_the_documented_ones() -> None:
    found = documented_limits()
    assert found["GET", "/api/alerts"] == (Limit(100, 60), Limit(1500, 3600))
    assert found["POST", "/api/alerts/batchupdate"] == (Limit(10, 60), Limit(500, 3600))
    assert found["GET", "/api/machineactions/{}/getpackageuri"] == (Limit(2, 60), Limit(120, 3600))
    assert found["POST", "/api/machines/{}/startinvestigation"] == (Limit(50, 3600),)
    assert found["GET", "/api/machines/softwareinventoryexport"] == (Limit(5, 60), Limit(20, 3600))
    assert {
        (each.method, each.path.lower()) for each in load().operations if "hunting" in each.path.lower()
    } < HUNTING
    assert not HUNTING & set(found)


def test_a_call_too_many_is_429_with_retry_after_and_the_documented_body(limited: Api, clock: Clock) -> None:
    for _ in range(100):
        limited.get("/api/alerts?$top=0")
    answer = limited.call("GET", "/API/alerts/")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert limited.error("GET", "/api/alerts") == (429, "TooManyRequests")
    assert "100 per minute" in answer.json()["error"]["message"]
    limited.get(f"/api/machines/{DEVICE}/alerts")
    limited.get("/api/alerts", tenant=OTHER_TENANT)
    clock.now += 60
    limited.get("/api/alerts")


def test_ids_of_one_operation_count_together(limited: Api) -> None:
    for number in range(100):
        assert limited.call("GET", f"/api/machineactions/{number}").status_code == 400
    assert limited.error("GET", "/api/machineactions/another") == (429, "TooManyRequests")
    limited.get("/api/machineactions")


def test_a_call_without_permission_costs_nothing(limited: Api) -> None:
    for _ in range(101):
        assert limited.call("GET", "/api/alerts", roles=("Ti.ReadWrite",)).status_code == 403
    assert limited.call("GET", "/api/alerts").status_code == 200


def test_limits_can_be_switched_off(limited: Api) -> None:
    limited.services.settings = replace(limited.services.settings, rate_limits=False)
    for _ in range(101):
        limited.get("/api/alerts?$top=0")
