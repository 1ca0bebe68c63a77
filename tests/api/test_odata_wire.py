"""Query strings byte by byte as real clients put them on the wire, and what paging clients depend on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shieldwall.alerts.models import Alert
from tests.api.conftest import DEVICE, SECOND, START, URL, Api, alert, incident
from tests.conftest import TENANT

ALERTS, MACHINES = "/api/alerts", "/api/machines"


def found(api: Api, path: str) -> set[str]:
    """Numbers of the alerts, or names of the devices, that a list answers."""
    rows = api.get(path)["value"]
    return {
        str(int(row["id"][2:20])) if "alertCreationTime" in row else row["computerDnsName"] for row in rows
    }


FIRST = "alertCreationTime%20lt%202026-01-02T03:05:06Z"
BY_20 = "%20or%20".join(f"id%20eq%20'da{number:018d}_1'" for number in range(1, 21))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(
            f"{ALERTS}?$filter=alertCreationTime%2Bgt%2B2026-01-02T03:07:05Z",
            {"3", "4"},
            id="a plus that arrives as %2B between tokens is a blank",
        ),
        pytest.param(
            f"{ALERTS}?$filter=severity+eq%20'High'%20or+severity%20eq+'Low'",
            {"1", "3"},
            id="plus and %20 are mixed",
        ),
        pytest.param(
            f"{MACHINES}?$filter=healthStatus+in+('Active',+'Inactive')",
            {"Web01.contoso.com", "db01"},
            id="in has round brackets and blanks",
        ),
        pytest.param(
            f"{ALERTS}?$filter=severity+in+['High','Low']",
            {"1", "3"},
            id="in has square brackets",
        ),
        pytest.param(
            f"{ALERTS}?$filter=severity eq 'High' AND status eq 'New'",
            {"1"},
            id="AND is in upper case",
        ),
        pytest.param(
            f"{ALERTS}?$filter=machineId+eq+'{DEVICE}'and severity+eq+'High'",
            {"1"},
            id="no blank stands before and",
        ),
        pytest.param(
            f"{MACHINES}?$filter=ComputerDNSName eq 'db01'",
            {"db01"},
            id="a property comes in another case",
        ),
        pytest.param(
            f"{ALERTS}?$filter=alertCreationTime ge 2026-01-02T03:08:05.1200000Z",
            {"4"},
            id="a time has seven digits of a fraction",
        ),
        pytest.param(
            f"{ALERTS}?$filter=alertCreationTime ge 2026-01-02T03:08:05.1Z",
            {"4"},
            id="a time has one digit of a fraction",
        ),
        pytest.param(
            f"{ALERTS}?$filter=alertCreationTime ge 2026-01-02T03:08:05Z",
            {"4"},
            id="a time has no fraction",
        ),
        pytest.param(
            f"{ALERTS}?$filter=alertCreationTime ge 2026-01-02T04:08:05%2B01:00",
            {"4"},
            id="a time has an offset",
        ),
        pytest.param(f"{ALERTS}?$filter=incidentId ge '1'", {"1", "2", "3", "4"}, id="a number is quoted"),
        pytest.param(
            f"{ALERTS}?$filter=deviceIds eq '{SECOND}' and severities eq 'Informational'",
            {"4"},
            id="Splunk's names of properties mean those there are",
        ),
        pytest.param(
            f"{ALERTS}?$filter=contains(title, 'sure_')",
            {"3"},
            id="contains has a blank in its arguments",
        ),
        pytest.param(
            f"{MACHINES}?$filter=startswith(computerDnsName,'WEB')",
            {"Web01.contoso.com"},
            id="startswith",
        ),
        pytest.param(
            f"{ALERTS}?$filter=(severity eq 'High' or severity eq 'Low') and (status eq 'Resolved')",
            {"3"},
            id="groups are in brackets",
        ),
        pytest.param(f"{ALERTS}?$filter={BY_20}", {"1", "2", "3", "4"}, id="twenty values are joined by or"),
        pytest.param(
            f"{ALERTS}?$filter=assignedTo eq 'Ann O''Hara'",
            {"2"},
            id="a quote inside a value is doubled",
        ),
        pytest.param(
            f"{ALERTS}?$filter=evidence/any(e:e/ipAddress eq '203.0.113.9')",
            {"1"},
            id="any over evidence",
        ),
        pytest.param(
            f"{MACHINES}?$filter=machineTags/any(t:t eq 'prod')", {"Web01.contoso.com"}, id="any over tags"
        ),
        pytest.param(f"{MACHINES}?$filter=machineTags/all(t:t eq 'x')", {"db01"}, id="all over tags"),
        pytest.param(f"{ALERTS}?$top=2&", {"3", "4"}, id="the query ends with an ampersand"),
        pytest.param(f"{ALERTS}/?$orderby=alertCreationTime+desc&$top=1", {"4"}, id="the order has a plus"),
        pytest.param(f"{ALERTS}?$top=1&whatever=x&api-version=2", {"4"}, id="unknown options are tolerated"),
        pytest.param(f"{ALERTS}?top=1&filter=severity eq 'Low'", {"3"}, id="options lack their dollar"),
        pytest.param(f"{ALERTS}?%24top=1&%24filter={FIRST}", {"1"}, id="the dollar is encoded"),
        pytest.param(f"{ALERTS}?$FILTER=severity eq 'Low'&$Top=5", {"3"}, id="options come in any case"),
    ],
)
def test_what_clients_send_is_understood(api: Api, path: str, expected: set[str]) -> None:
    assert found(api, path) == expected


@pytest.fixture
def many(api: Api) -> Api:
    """Seven alerts more, four of them at the same moment."""
    with api.services.database.session(TENANT) as session:
        case = incident()
        session.add(case)
        session.flush()
        for number in range(10, 17):
            moment = START + timedelta(hours=1 if number < 14 else number)
            session.add(alert(number, case.id, alert_creation_time=moment))
    return api


def pages(api: Api, path: str) -> list[list[str]]:
    """The ids of every page, following the links as they are, on the server's own address."""
    seen: list[list[str]] = []
    link: str | None = f"{URL}{path}"
    while link is not None:
        assert link.startswith(f"{URL}/api/alerts?"), "the link is of the address that was called"
        body = api.get(link.removeprefix(URL))
        assert next(iter(body)) == "@odata.context"
        seen.append([row["id"] for row in body["value"]])
        link = body.get("@odata.nextLink")
    return seen


def test_next_links_are_followed_verbatim_to_the_end(many: Api) -> None:
    seen = pages(many, f"{ALERTS}?pageSize=3&$filter=status+ne+'Unknown'&$expand=evidence&$select=id")
    assert [len(page) for page in seen] == [3, 3, 3, 2]
    assert len({identifier for page in seen for identifier in page}) == 11


def test_pages_by_skip_until_one_is_short_see_everything_once(many: Api) -> None:
    seen: list[str] = []
    while True:
        rows = many.get(f"{ALERTS}?$top=4&$skip={len(seen)}")["value"]
        seen += [row["id"] for row in rows]
        if len(rows) < 4:
            break
    assert len(seen) == len(set(seen)) == 11


def test_a_page_is_not_shorter_than_was_asked_for_without_a_link(many: Api) -> None:
    body = many.get(f"{ALERTS}?$top=10000")
    assert (len(body["value"]), "@odata.nextLink" in body) == (11, False)


def test_rows_that_come_or_change_between_pages_shift_nothing(many: Api) -> None:
    first = many.get(f"{ALERTS}?pageSize=5&$count=true")
    assert first["@odata.count"] == 11
    with many.services.database.session(TENANT) as session:
        case = incident()
        session.add(case)
        session.flush()
        session.add(alert(90, case.id, alert_creation_time=START + timedelta(days=9)))
        row = session.get(Alert, first["value"][0]["id"])
        session.delete(row)
    rest = pages(many, first["@odata.nextLink"].removeprefix(URL))
    ids = [row["id"] for row in first["value"]] + [identifier for page in rest for identifier in page]
    assert len(ids) == len(set(ids)) == 11
    assert f"da{90:018d}_1" not in ids


@pytest.mark.parametrize(
    ("path", "most"),
    [(ALERTS, 10_000), (MACHINES, 10_000), ("/api/machineactions", 10_000), ("/api/indicators", 10_000)],
)
def test_a_top_above_the_documented_maximum_is_refused(api: Api, path: str, most: int) -> None:
    assert api.call("GET", f"{path}?$top={most}").status_code == 200
    answer = api.call("GET", f"{path}?$top={most + 1}")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "ODataError"
    assert f"The limit of '{most}' for Top query has been exceeded." in error["message"]


@pytest.mark.parametrize(
    "path", [ALERTS, MACHINES, "/api/machineactions", "/api/indicators", "/api/incidents"]
)
def test_every_list_is_a_context_and_a_value(api: Api, path: str) -> None:
    body = api.get(path)
    assert list(body) == ["@odata.context", "value"]
    assert body["@odata.context"].startswith(f"{URL}/api/$metadata#")
    assert list(api.get(f"{path}?$count=true")) == ["@odata.context", "@odata.count", "value"]
