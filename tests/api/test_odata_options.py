"""Order, paging, counting and selecting, on both databases, and their errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.alerts.models import Alert
from shieldwall.api import sets
from shieldwall.api.alert_changes import update_alerts
from shieldwall.api.lookup import find_device
from shieldwall.api.odata.fields import Kind
from shieldwall.api.odata.options import read_options
from shieldwall.api.odata.query import fetch, parts
from shieldwall.errors import ApiError
from shieldwall.identity.principal import Principal
from shieldwall.state import scope
from shieldwall.state.engine import Database
from tests.api.conftest import START, alert, incident
from tests.conftest import TENANT

ORDERS = [
    "",
    "title",
    "title desc",
    "resolvedTime",
    "resolvedTime desc",
    "assignedTo desc,severity asc",
    "severity,assignedTo,resolvedTime desc",
    "relatedUser/userName desc",
    "alertCreationTime+desc",
]


def walk(database: Database, query: str) -> list[list[str]]:
    """The ids of every page, following the next links."""
    pages: list[list[str]] = []
    with database.read(TENANT) as session:
        following: str | None = query
        while following is not None:
            page = fetch(session, sets.ALERTS, read_options(following, sets.ALERTS))
            pages.append([row.id for row in page.rows])
            following = page.next
            assert len(pages) < 50
    return pages


def test_pages_hold_every_alert_once_in_the_same_order_whatever_the_order(seeded: Database) -> None:
    with seeded.session(TENANT) as session:
        case = incident()
        session.add(case)
        session.flush()
        for number in range(20, 33):
            session.add(
                alert(
                    number,
                    case.id,
                    title=f"Same {number % 3}",
                    assigned_to=None if number % 2 else f"user{number % 4}",
                    resolved_time=None if number % 3 else START + timedelta(seconds=number % 4),
                    alert_creation_time=START,
                )
            )
    for order in ORDERS:
        query = f"$orderby={quote(order)}"
        whole = walk(seeded, query)
        assert len(whole) == 1
        assert len(set(whole[0])) == 17
        paged = walk(seeded, f"{query}&pageSize=4")
        assert [len(page) for page in paged] == [4, 4, 4, 4, 1], order
        assert [identifier for page in paged for identifier in page] == whole[0], order


def in_parts(database: Database, query: str, size: int) -> tuple[list[str], str | None, int | None]:
    """The ids of one page read bit by bit, its next link, and its count."""
    found = list(
        parts(
            lambda: database.read(TENANT),
            sets.ALERTS,
            read_options(query, sets.ALERTS),
            [Alert.id],
            lambda _, rows: [row.id for row in rows],
            size=size,
        )
    )
    assert all(len(part.items) == size for part in found[:-1])
    assert all(part.next is None for part in found[:-1])
    return [identifier for part in found for identifier in part.items], found[-1].next, found[0].total


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_a_page_read_in_parts_is_the_same_page(seeded: Database, size: int) -> None:
    for order in ORDERS:
        for more in (
            "",
            "&$top=3&$count=true",
            "&$skip=1&$top=2",
            "&pageSize=3",
            "&$top=0",
            "&$top=4&pageSize=2",
        ):
            query = f"$orderby={quote(order)}{more}"
            with seeded.read(TENANT) as session:
                whole = fetch(session, sets.ALERTS, read_options(query, sets.ALERTS))
            expected = ([row.id for row in whole.rows], whole.next, whole.total)
            assert in_parts(seeded, query, size) == expected, query


def test_what_comes_while_a_page_is_read_shifts_nothing(seeded: Database) -> None:
    options = read_options("", sets.ALERTS)
    reading = parts(
        lambda: seeded.read(TENANT),
        sets.ALERTS,
        options,
        [Alert.id],
        lambda _, rows: [row.id for row in rows],
        size=2,
    )
    seen = list(next(reading).items)
    with seeded.session(TENANT) as session:
        case = incident()
        session.add(case)
        session.flush()
        session.add(alert(60, case.id))
    seen += [identifier for part in reading for identifier in part.items]
    assert seen == [f"da{number:018d}_1" for number in (4, 3, 2, 1)]


def test_a_page_goes_on_for_the_caller_that_it_began_for(seeded: Database) -> None:
    """The rest of a page may be read in another thread, where the narrowing of the request is not known."""
    scope.narrow(scope.DeviceScope(frozenset({0}), frozenset({""})))
    reading = parts(
        lambda: seeded.read(TENANT),
        sets.ALERTS,
        read_options("", sets.ALERTS),
        [Alert.id],
        lambda _, rows: [row.id for row in rows],
        size=1,
    )
    scope.narrow(None)
    assert [identifier for part in reading for identifier in part.items] == [f"da{4:018d}_1"]
    scope.narrow(None)


def test_null_is_less_than_any_value_on_every_database(seeded: Database) -> None:
    assert walk(seeded, "$orderby=resolvedTime")[0][-1] == f"da{3:018d}_1"
    assert walk(seeded, "$orderby=resolvedTime desc")[0][0] == f"da{3:018d}_1"


def test_a_next_page_neither_repeats_nor_skips_when_rows_come_in_between(seeded: Database) -> None:
    with seeded.read(TENANT) as session:
        first = fetch(session, sets.ALERTS, read_options("pageSize=2", sets.ALERTS))
    with seeded.session(TENANT) as session:
        case = incident()
        session.add(case)
        session.flush()
        session.add(alert(50, case.id))
    assert first.next is not None
    rest = walk(seeded, first.next)
    assert [row.id for row in first.rows] == [f"da{number:018d}_1" for number in (4, 3)]
    assert rest == [[f"da{number:018d}_1" for number in (2, 1)]]


def test_top_ends_a_list_and_skip_moves_its_begin(seeded: Database) -> None:
    assert walk(seeded, "$top=3&$orderby=id") == [[f"da{number:018d}_1" for number in (1, 2, 3)]]
    assert walk(seeded, "$top=3&$skip=3&$orderby=id") == [[f"da{4:018d}_1"]]
    assert walk(seeded, "$top=0") == [[]]
    assert [len(page) for page in walk(seeded, "$top=3&pageSize=2")] == [2, 1]


def test_count_is_of_all_that_the_filter_finds(seeded: Database) -> None:
    with seeded.read(TENANT) as session:
        options = read_options("$count=true&$top=1&$filter=severity ne 'High'", sets.ALERTS)
        assert fetch(session, sets.ALERTS, options).total == 3


def test_every_property_can_be_filtered_and_ordered_by(seeded: Database) -> None:
    samples = {Kind.TIME: "2026-01-01Z", Kind.NUMBER: "1", Kind.FLAG: "true"}
    with seeded.read(TENANT) as session:
        for entity in (sets.ALERTS, sets.MACHINES, sets.MACHINE_ACTIONS, sets.INDICATORS, sets.INCIDENTS):
            whole = {row.id for row in fetch(session, entity, read_options("", entity)).rows}
            for field in entity.fields.values():
                sample = samples.get(field.kind, "'x'")
                for text in (
                    f"{field.name} eq null",
                    f"{field.name} ne {sample}",
                    f"not ({field.name} eq {sample})",
                ):
                    fetch(session, entity, read_options(f"$filter={text}", entity))
                for direction in ("asc", "desc"):
                    seen = []
                    query: str | None = f"$orderby={field.name} {direction}&pageSize=2"
                    while query is not None:
                        page = fetch(session, entity, read_options(query, entity))
                        seen += [row.id for row in page.rows]
                        query = page.next
                    assert len(seen) == len(set(seen)), field.name
                    assert set(seen) == whole, field.name


def test_rows_are_locked_and_changed_on_both_databases(seeded: Database) -> None:
    caller = Principal(TENANT, "app", "app", frozenset())
    with seeded.session(TENANT) as session:
        device = find_device(session, "WEB01.contoso.com", lock=True)
        device.device_value = "High"
        update_alerts(session, caller, [f"da{number:018d}_1" for number in (2, 1)], {"status": "Resolved"})
    with seeded.read(TENANT) as session:
        assert find_device(session, device.id).device_value == "High"
        options = read_options("$filter=status eq 'Resolved'&$count=true", sets.ALERTS)
        assert fetch(session, sets.ALERTS, options).total == 3


REFUSED = [
    "$top=10001",
    "$top=-1",
    "$top=ten",
    "$skip=1.5",
    "$skip=99999999999",
    "$orderby=nothing",
    "$orderby=title sideways",
    "$orderby=" + ",".join(["id"] * 9),
    "$expand=machine",
    "$filter=severity eq",
    "$filter=a eq 1&$filter=b eq 2",
    "$skiptoken=%%%",
    "$skiptoken=AAAA",
    "$skiptoken=WzFd",
    "$skiptoken=W3t9LCAxXQ",
    "$skiptoken=" + "A" * 9000,
    "&".join(f"x{number}=1" for number in range(70)),
]


@pytest.mark.parametrize("query", REFUSED)
def test_options_that_cannot_be_read_are_refused(query: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_options(query, sets.ALERTS)
    assert (caught.value.status, caught.value.code) == (400, "ODataError")


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["$top", "$skip", "$skiptoken", "$orderby", "$select", "$filter", "x"]), st.text()
    )
)
def test_any_query_is_read_or_refused(options: dict[str, Any]) -> None:
    query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
    try:
        read_options(query, sets.ALERTS)
        code = "ODataError"
    except ApiError as error:
        code = error.code
    assert code == "ODataError"
