"""Times as the API writes them: UTC, ``Z``, up to seven fraction digits with trailing zeros dropped."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TEXT = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?\s*(Z|z|[+-]\d{2}:?\d{2})?"
)


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def to_text(value: datetime) -> str:
    """Write a time for an API answer, such as ``2021-01-26T20:33:58.42Z``."""
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    # A long list has a million of them: this is the quickest way, and leaves a fraction of nothing out.
    text = utc.isoformat()[:-6]
    return f"{text.rstrip('0')}Z" if value.microsecond else f"{text}Z"


def parse(text: str) -> datetime:
    """Read any ISO 8601 date or time that clients send; raise ValueError on anything else.

    No offset means UTC. Digits beyond the microsecond are dropped.
    """
    found = _TEXT.fullmatch(text.strip())
    if not found:
        raise ValueError(f"not a date and time: {text[:64]!r}")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    micro = int(((fraction or "") + "000000")[:6])
    offset = "+00:00" if zone in (None, "Z", "z") else zone
    stamp = f"{year}-{month}-{day}T{hour or '00'}:{minute or '00'}:{second or '00'}.{micro:06d}{offset}"
    try:
        return datetime.fromisoformat(stamp).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"date out of range: {text[:64]!r}") from error
