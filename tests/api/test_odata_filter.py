"""``$filter`` as real clients write it, run on both databases."""

from __future__ import annotations

from urllib.parse import quote

from shieldwall.api import sets
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import count, fetch
from shieldwall.state.engine import Database
from tests.api.conftest import DEVICE, SECOND
from tests.conftest import TENANT


def numbers(database: Database, text: str) -> set[int]:
    """The numbers of the seeded alerts that a filter finds."""
    with database.read(TENANT) as session:
        options = read_options("$filter=" + quote(text), sets.ALERTS)
        rows = fetch(session, sets.ALERTS, options).rows
        assert count(session, sets.ALERTS, options) == len(rows)
        return {int(row.id[2:20]) for row in rows}


ALERT_FILTERS = {
    "severity eq 'High'": {1},
    "severity eq 'high'": {1},
    "SEVERITY EQ 'High'": {1},
    "'High' eq severity": {1},
    "severity ne 'High'": {2, 3, 4},
    "severity in ('High', 'Low')": {1, 3},
    "severity in ['High','Low']": {1, 3},
    "severity in ()": set(),
    "severity eq microsoft.windowsDefenderATP.api.AlertSeverity'Medium'": {2},
    "severity eq 'Nothing'": set(),
    "alertCreationTime+gt+2026-01-02T03:06:05.12Z": {3, 4},
    "alertCreationTime ge 2026-01-02T03:06:05.1200000Z": {2, 3, 4},
    "alertCreationTime lt 2026-01-02T03:06:05.12+00:00": {1},
    "alertCreationTime lt 2026-01-02T04:06:05.12+01:00": {1},
    "alertCreationTime le 2026-01-02T03:06:05.1200009Z": {1, 2},
    "alertCreationTime gt '2026-01-02T03:06:05.12Z'": {3, 4},
    "alertCreationTime gt datetime'2026-01-02T03:06:05.12Z'": {3, 4},
    "alertCreationTime ge 2026-01-02Z and alertCreationTime lt 2026-01-03": {1, 2, 3, 4},
    "2026-01-02T03:06:05.12Z lt alertCreationTime": {3, 4},
    "date(alertCreationTime) eq 2026-01-02": {1, 2, 3, 4},
    "date(alertCreationTime) ne 2026-01-02": set(),
    "date(alertCreationTime) gt 2026-01-01": {1, 2, 3, 4},
    "date(alertCreationTime) le 2026-01-01": set(),
    "year(alertCreationTime) eq 2026 and month(alertCreationTime) eq 1": {1, 2, 3, 4},
    "day(alertCreationTime) eq 2 and hour(alertCreationTime) eq 3": {1, 2, 3, 4},
    "minute(alertCreationTime) eq 6 and second(alertCreationTime) lt 6": {2},
    "severity eq 'High'and machineId eq '" + DEVICE + "'": {1},
    "severity eq 'High' AND status eq 'New'": {1},
    "not (severity eq 'High')": {2, 3, 4},
    "not not severity eq 'High'": {1},
    "(severity eq 'High' or severity eq 'Low') and (status eq 'Resolved')": {3},
    "severity eq 'High' or severity eq 'Low' and status eq 'New'": {1},
    " or ".join(f"id eq 'da{number:018d}_1'" for number in range(2, 22)): {2, 3, 4},
    "MachineID eq '" + SECOND.upper() + "'": {4},
    "computerDnsName eq 'WEB01.CONTOSO.COM' and severity eq 'Low'": {3},
    "assignedTo eq 'Ann O''Hara'": {2},
    "assignedTo eq null": {1, 3, 4},
    "assignedTo ne null": {2},
    "assignedTo ne 'Ann O''Hara'": {1, 3, 4},
    "not (assignedTo eq 'Ann O''Hara')": {1, 3, 4},
    "assignedTo gt null": set(),
    "asssignedTo eq 'ann o''hara'": {2},
    "contains(title,'ALERT')": {1, 2, 4},
    "startswith(title, '100%')": {3},
    "contains(title,'%')": {3},
    "contains(title,'_')": {3},
    "contains(title,'\\')": set(),
    "endswith(title,'sure_')": {3},
    "contains(tolower(title),'alert')": {1, 2, 4},
    "tolower(title) eq 'alert 1'": {1},
    "length(title) gt 8": {3},
    "incidentId eq '1' or incidentId ne 1 or incidentId eq 1.0": {1, 2, 3, 4},
    "incidentId gt -5": {1, 2, 3, 4},
    "deviceIds eq '" + DEVICE + "' and severities eq 'High'": {1},
    "relatedUser/userName eq 'root'": {1, 2, 3},
    "relatedUser/userName ne 'root'": {4},
    "mitreTechniques/any(t: t eq 'T1059')": {1},
    "mitreTechniques/any(t:contains(t,'T10'))": {1},
    "mitreTechniques/any()": {1},
    "not mitreTechniques/any()": {2, 3, 4},
    "mitreTechniques/all(t: startswith(t, 'T1'))": {1, 2, 3, 4},
    "mitreTechniques/all(t: t eq 'T1059')": {2, 3, 4},
    "evidence/any(e: e/sha1 eq '" + "1" * 40 + "')": {1},
    "evidence/any(e: e/entityType eq 'Ip' and e/ipAddress eq '203.0.113.9')": {1},
    "evidence/any(e: e/entityType eq 'Ip' and e/ipAddress eq '198.51.100.1')": set(),
    "evidence/any(e: e/processId eq 7 and severity eq 'High')": {1},
    "evidence/all(e: e/entityType ne 'File')": {2, 3, 4},
    "true": {1, 2, 3, 4},
    "not true": set(),
}


def test_filters_find_what_clients_mean(seeded: Database) -> None:
    found = {text: numbers(seeded, text) for text in ALERT_FILTERS}
    assert found == ALERT_FILTERS
