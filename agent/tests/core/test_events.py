"""Times of events as the server reads them."""

from datetime import UTC, datetime

import pytest

from shieldwall_agent.events import timestamp


@pytest.mark.parametrize("seconds", [0.0, 1_735_689_600.0, 1_764_000_000.123456, 1_764_000_000.9999996])
def test_timestamp_is_utc_to_the_microsecond(seconds: float) -> None:
    assert timestamp(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
