"""A device whose events are matched as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.matching import IndicatorMatcher
from shieldwall.detection.models import Indicator
from shieldwall.devices.models import Device
from shieldwall.identity.principal import Principal
from shieldwall.settings import Settings
from shieldwall.state.engine import Database
from shieldwall.telemetry.store import TelemetryStore
from shieldwall.times import now
from shieldwall.wakeups import Wakeups
from tests.telemetry.conftest import DEVICE, Feed

Put = Callable[..., Indicator]


@pytest.fixture
def service(database: Database) -> IndicatorService:
    return IndicatorService(database, Wakeups(), Settings(indicators_per_tenant=50))


@pytest.fixture
def watched(telemetry: TelemetryStore, database: Database) -> Feed:
    """A feed with a device on record and the matcher as its observer."""
    matcher = IndicatorMatcher(telemetry, database, Settings())
    feed = Feed(telemetry, database, [matcher])
    time = now()
    with database.session(feed.tenant) as session:
        session.add(
            Device(
                id=DEVICE,
                computer_dns_name="host1",
                first_seen=time,
                last_seen=time,
                last_contact=time,
                public_key="k",
            )
        )
    matcher.start()
    return feed


@pytest.fixture
def put(service: IndicatorService, watched: Feed) -> Put:
    """Puts an indicator on the watched tenant's list."""

    def make(kind: str, value: str, action: str = "Audit", **more: Any) -> Indicator:
        body = {"indicatorType": kind, "indicatorValue": value, "action": action, "title": value, **more}
        return service.create_or_update(
            watched.tenant, principal(watched.tenant), {"generateAlert": True} | body
        )

    return make


def principal(tenant: str) -> Principal:
    return Principal(tenant, "app-id", "app", frozenset())
