"""Which rows a log source is."""

from __future__ import annotations

import pytest

from shieldwall.detection.sigma.logsources import UnmappedError, rows_of
from tests.detection.sigma.conftest import only

POWERSHELL = '("Microsoft-Windows-PowerShell/Operational", "PowerShellCore/Operational")'
SOURCES = [
    (
        "product: windows, service: security",
        'SourceEvents\n| where Channel =~ "Security" and EventData.A =~ "x"',
    ),
    (
        "product: windows, service: powershell",
        f'SourceEvents\n| where Channel in~ {POWERSHELL}\n    and EventData.A =~ "x"',
    ),
    (
        "product: windows, category: ps_script",
        f'SourceEvents\n| where Channel in~ {POWERSHELL} and EventId == 4104\n    and EventData.A =~ "x"',
    ),
    (
        "product: linux, category: file_event",
        'DeviceFileEvents\n| where ActionType == "FileCreated" and FolderPath startswith "/" '
        'and AdditionalFields.A =~ "x"',
    ),
    (
        "product: windows, category: registry_set",
        'DeviceRegistryEvents\n| where ActionType == "RegistryValueSet" and AdditionalFields.A =~ "x"',
    ),
    (
        "product: zeek, service: http",
        'SourceEvents\n| where Source == "zeek" and Channel == "http" and EventData.A =~ "x"',
    ),
]


@pytest.mark.parametrize(("source", "query"), SOURCES, ids=[case[0] for case in SOURCES])
def test_a_log_source_is_rows_of_one_table(source: str, query: str) -> None:
    detection = "detection:\n  sel: {A: x}\n  condition: sel"
    rule = only(f"title: x\nlogsource: {{{source}}}\n{detection}")
    assert rule.query == query


def test_accounts_of_linux_are_names() -> None:
    detection = "detection:\n  sel: {User: root, Image|endswith: /sh}\n  condition: sel"
    rule = only(f"title: x\nlogsource: {{product: linux, category: process_creation}}\n{detection}")
    assert 'AccountName =~ "root"' in rule.query
    assert "AccountDomain" not in rule.query


def test_what_the_kind_of_an_event_tells_is_not_asked_of_rows() -> None:
    detection = "detection:\n  sel: {Initiated: 'true', DestinationPort: 443}\n  condition: sel"
    rule = only(f"title: x\nlogsource: {{product: windows, category: network_connection}}\n{detection}")
    assert "Initiated" not in rule.query
    assert "InboundConnectionAccepted" not in rule.query


@pytest.mark.parametrize(
    "source",
    [("windows", "tides", None), ("windows", None, "tides"), ("moon", None, None), (None, None, "x")],
)
def test_a_log_source_of_which_nothing_is_stored(source: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(UnmappedError, match="no source gives events of the log source"):
        rows_of(*source)


def test_words_in_a_hunting_table_are_looked_for_in_every_column() -> None:
    detection = "detection:\n  sel: [Sysmon config state changed]\n  condition: not sel"
    rule = only(f"title: x\nlogsource: {{product: windows, category: sysmon_status}}\n{detection}")
    assert 'not(* contains "Sysmon config state changed")' in rule.query
