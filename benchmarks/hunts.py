"""The hunts of `hunts.yaml` over one stretch of time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import yaml

TABLES = {"P": "shieldwall.DeviceProcessEvents", "N": "shieldwall.DeviceNetworkEvents"}


def hunts(begin: datetime) -> dict[str, tuple[str, str]]:
    """By name, KQL and SQL; their day is the fourth after ``begin``."""
    day = begin + timedelta(days=3)
    low, high = f"{day:%Y-%m-%d}", f"{day + timedelta(days=1):%Y-%m-%d}"
    kql_day = f"Timestamp between (datetime({low}) .. datetime({high}))"
    sql_day = f"Timestamp BETWEEN toDateTime64('{low}', 7, 'UTC') AND toDateTime64('{high}', 7, 'UTC')"

    def filled(sql: str) -> str:
        return re.sub(r"\b[PN]\b(?!\.)", lambda found: TABLES[found[0]], sql).replace("DAY", sql_day)

    found = yaml.safe_load(Path(__file__).with_name("hunts.yaml").read_text())
    return {name: (hunt["kql"].replace("DAY", kql_day), filled(hunt["sql"])) for name, hunt in found.items()}
