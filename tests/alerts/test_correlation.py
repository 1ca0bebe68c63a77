"""Which alerts become one incident, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from shieldwall.alerts.drafts import AlertDraft, EvidenceDraft
from shieldwall.alerts.entity_models import AlertLink, SeenEntity
from shieldwall.alerts.incidents import keep_apart
from shieldwall.alerts.links import Link, logon_links, process_link, session_link
from shieldwall.alerts.models import Alert, Evidence, Incident
from shieldwall.alerts.moving import FRESH, move_alerts
from shieldwall.alerts.raising import extend_alert, raise_alert, raise_many
from shieldwall.alerts.seen import forget
from shieldwall.devices.models import Device
from shieldwall.identity.models import Tenant
from shieldwall.state.engine import Database
from shieldwall.times import now
from tests.alerts.conftest import DEVICE, SECOND
from tests.conftest import TENANT

START = now() - timedelta(days=2)
WINDOW = 24 * 3600
C2 = EvidenceDraft("Ip", ip_address="198.51.100.7", detection_status="Detected")
FILE = EvidenceDraft(
    "File", sha256="5" * 64, file_name="x.exe", file_path="/tmp", detection_status="Detected"
)
ALICE = EvidenceDraft("User", account_name="alice", domain_name="corp")


def process(number: int, parent: int | None = None, name: str = "evil", **more: str) -> EvidenceDraft:
    return EvidenceDraft(
        "Process",
        file_name=name,
        process_id=number,
        process_creation_time=START,
        parent_process_id=parent,
        parent_process_creation_time=START if parent else None,
        parent_process_file_name="parent" if parent else None,
        detection_status="Detected",
        **more,
    )


def an_alert(
    title: str,
    *evidence: EvidenceDraft,
    device: str | None = DEVICE,
    minutes: float = 0,
    links: Sequence[Link] = (),
    tenant: str = TENANT,
    category: str = "Execution",
) -> AlertDraft:
    time = START + timedelta(minutes=minutes)
    return AlertDraft(
        tenant, device, title, title, "", "Medium", category, "CustomDetection", time, time, evidence,
        frozenset(links),
    )  # fmt: skip


def raised(database: Database, *drafts: AlertDraft) -> list[int]:
    """The incident of each alert after all were raised, one transaction each."""
    identifiers = []
    for draft in drafts:
        with database.system_session() as session:
            identifiers.append(raise_alert(session, draft, WINDOW)[0].id)
    return homes(database, identifiers)


def homes(database: Database, identifiers: Sequence[str]) -> list[int]:
    with database.system_read() as session:
        return [session.get_one(Alert, identifier).incident_id for identifier in identifiers]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ((process(10),), (process(11, parent=10),), True),
        ((process(10),), (process(11),), False),
        ((process(10, name="explorer.exe"),), (process(10, name="explorer.exe"),), False),
        ((FILE,), (FILE,), True),
        ((C2,), (EvidenceDraft("Url", url="http://198.51.100.7/x"),), True),
        (
            (EvidenceDraft("Url", url="http://evil.example/a"),),
            (EvidenceDraft("Url", url="EVIL.example"),),
            True,
        ),
        ((EvidenceDraft("Ip", ip_address="8.8.8.8"),), (EvidenceDraft("Ip", ip_address="8.8.8.8"),), False),
        (
            (EvidenceDraft("Ip", ip_address="127.0.0.1"),),
            (EvidenceDraft("Ip", ip_address="127.0.0.1"),),
            False,
        ),
        ((ALICE,), (ALICE,), False),
        (
            (process(10, name="bash", sha256="6" * 64, file_path="/usr/bin"),),
            (process(11, name="bash", sha256="6" * 64, file_path="/usr/bin"),),
            False,
        ),
    ],
)
def test_what_joins_alerts_of_two_devices_or_one(
    devices: Database, first: tuple[EvidenceDraft, ...], second: tuple[EvidenceDraft, ...], together: bool
) -> None:
    of_one = first[0].entity_type == "Process"
    one, two = raised(
        devices,
        an_alert("one", *first),
        an_alert("two", *second, device=DEVICE if of_one else SECOND, minutes=70),
    )
    assert (one == two) is together


def test_one_device_and_user_join_what_happens_at_once_and_nothing_later(devices: Database) -> None:
    one, soon, later = raised(
        devices,
        an_alert("one", ALICE),
        an_alert("soon", ALICE, minutes=4),
        an_alert("later", ALICE, minutes=40),
    )
    assert one == soon != later


def test_one_session_joins_for_longer(devices: Database) -> None:
    links = [link for link in (session_link(DEVICE, 77),) if link]
    system = [link for link in (session_link(DEVICE, 999),) if link]
    assert not system
    one, soon, later = raised(
        devices,
        an_alert("one", ALICE, links=links),
        an_alert("soon", ALICE, minutes=30, links=links),
        an_alert("later", ALICE, minutes=400, links=links),
    )
    assert one == soon != later


def test_a_remote_logon_joins_the_device_that_it_came_from(devices: Database) -> None:
    with devices.session(TENANT) as session:
        session.get_one(Device, DEVICE).last_ip_address = "10.0.0.5"
        session.get_one(Device, SECOND).computer_dns_name = "other.corp.example"
    by_address, by_name = logon_links("10.0.0.5", None), logon_links(None, "OTHER")
    one, two, three = raised(
        devices,
        an_alert("from here", process(10)),
        an_alert("to there", process(20), device=SECOND, minutes=30, links=list(by_address)),
        an_alert("and back", process(30), minutes=60, links=list(by_name)),
    )
    assert one == two == three
    with devices.read(TENANT) as session:
        alert = session.scalars(select(Alert).where(Alert.title == "to there")).one()
        (reason,) = alert.link_reasons
        assert [each["kind"] for each in reason["shared"]] == ["remote logon"]


def test_an_address_that_went_to_another_device_leads_there(devices: Database) -> None:
    with devices.session(TENANT) as session:
        session.get_one(Device, DEVICE).last_ip_address = "10.0.0.5"
    (before,) = raised(devices, an_alert("long ago", process(10), minutes=-3 * 24 * 60))
    with devices.session(TENANT) as session:
        session.get_one(Device, DEVICE).last_ip_address = "10.0.0.6"
        session.get_one(Device, SECOND).last_ip_address = "10.0.0.5"
    here, there, third = raised(
        devices,
        an_alert("old owner", process(11)),
        an_alert("new owner", process(20), device=SECOND, minutes=5),
        an_alert("seen", device=None, minutes=30, links=list(logon_links("10.0.0.5", None))),
    )
    assert third == there
    assert third not in (here, before)


def test_an_address_is_known_as_of_late_as_it_was_told_in_whatever_order(devices: Database) -> None:
    with devices.session(TENANT) as session:
        session.get_one(Device, DEVICE).last_ip_address = "10.0.0.5"
    drafts = [an_alert("late", process(11)), an_alert("early", process(10), minutes=-5 * 24 * 60)]
    with devices.system_session() as session:
        found = raise_many(session, drafts, WINDOW)
    late, _ = homes(devices, [identifier for identifier, _ in found])
    (seen,) = raised(
        devices, an_alert("seen", device=None, minutes=30, links=list(logon_links("10.0.0.5", None)))
    )
    assert seen == late


def test_an_alert_of_no_device_takes_part_by_its_addresses(devices: Database) -> None:
    seen = EvidenceDraft("Ip", ip_address="10.0.0.5")
    one, two = raised(
        devices, an_alert("beacon", process(10), C2), an_alert("ids", C2, seen, device=None, minutes=9)
    )
    assert one == two


def test_the_reason_of_a_link_is_kept(devices: Database) -> None:
    raised(
        devices, an_alert("one", process(10), FILE), an_alert("two", process(11, parent=10), FILE, minutes=1)
    )
    with devices.read(TENANT) as session:
        one, two = session.scalars(select(Alert).order_by(Alert.first_event_time)).all()
        assert one.link_reasons == []
        (reason,) = two.link_reasons
        assert reason["alertId"] == one.id
        shared = {each["kind"]: each["value"] for each in reason["shared"]}
        assert shared == {"device": "host", "file": "x.exe", "process": "parent (10)"}


def test_a_late_alert_merges_and_the_redirect_is_one_step(devices: Database) -> None:
    first, second, third, late = raised(
        devices,
        an_alert("one", process(10), minutes=0),
        an_alert("two", process(30), device=SECOND, minutes=80),
        an_alert("three", FILE, device=SECOND, minutes=160),
        an_alert("late", process(31, parent=30), FILE, device=SECOND, minutes=81),
    )
    assert second == third == late != first
    (again,) = raised(devices, an_alert("last", process(11, parent=10), FILE, minutes=82))
    assert again == first
    with devices.read(TENANT) as session:
        redirected = session.scalars(select(Incident).where(Incident.status == "Redirected")).all()
        assert {row.redirect_incident_id for row in redirected} == {first}
        assert len(redirected) == 2
        assert set(session.scalars(select(Alert.incident_id))) == {first}


@pytest.mark.parametrize(
    "differing",
    [{"status": "Resolved"}, {"assigned_to": "ann"}, {"classification": "TruePositive"}, "apart"],
)
def test_what_analysts_have_decided_is_not_merged(devices: Database, differing: dict[str, str] | str) -> None:
    one, two = raised(devices, an_alert("one", process(10)), an_alert("two", process(30), minutes=90))
    with devices.session(TENANT) as session:
        newer, older = session.get_one(Incident, two), session.get_one(Incident, one)
        if isinstance(differing, str):
            keep_apart(newer, older)
        else:
            for name, value in differing.items():
                setattr(newer, name, value)
    (linking,) = raised(devices, an_alert("link", process(31, parent=30), process(11, parent=10), minutes=50))
    assert linking in (one, two)
    with devices.read(TENANT) as session:
        assert "Redirected" not in session.scalars(select(Incident.status)).all()


def test_what_became_of_false_positives_leads_nowhere(devices: Database) -> None:
    (one,) = raised(devices, an_alert("one", process(10)))
    with devices.session(TENANT) as session:
        session.scalars(select(Alert)).one().classification = "FalsePositive"
    (two,) = raised(devices, an_alert("two", process(11, parent=10), minutes=1))
    assert one != two


def test_a_common_file_joins_nothing_once_it_is_known_to_be(devices: Database) -> None:
    with devices.session(TENANT) as session:
        session.add_all(
            Device(id=f"{number:040x}", computer_dns_name=f"pc{number}", first_seen=START, last_seen=START,
                   last_contact=START, public_key="k")
            for number in range(40)
        )  # fmt: skip
    drafts = [
        an_alert(f"rule {number % 20}", FILE, device=f"{number:040x}", minutes=number * 400 - 20_000)
        for number in range(40)
    ]
    with devices.system_session() as session:
        raise_many(
            session, [AlertDraft(**{**vars(each), "key": str(n)}) for n, each in enumerate(drafts)], WINDOW
        )
    one, two = raised(devices, an_alert("one", FILE), an_alert("two", FILE, device=SECOND, minutes=1))
    assert one != two
    with devices.system_read() as session:
        key = Link("file", "5" * 64).key
        assert session.get_one(SeenEntity, (TENANT, key)).alerts == 42


def test_an_outbreak_of_a_new_file_is_one_incident(devices: Database) -> None:
    with devices.session(TENANT) as session:
        session.add_all(
            Device(id=f"{number:040x}", computer_dns_name=f"pc{number}", first_seen=START, last_seen=START,
                   last_contact=START, public_key="k")
            for number in range(45)
        )  # fmt: skip
    drafts = [an_alert("worm", FILE, device=f"{number:040x}", minutes=number) for number in range(45)]
    with devices.system_session() as session:
        raise_many(session, drafts, WINDOW)
    with devices.read(TENANT) as session:
        (incident,) = session.scalars(select(Incident)).all()
        assert incident.name == "worm on 45 devices"


def test_tenants_have_nothing_in_common(devices: Database) -> None:
    other = "22222222-2222-4222-8222-222222222222"
    one, two = raised(devices, an_alert("one", FILE), an_alert("two", FILE, device=None, tenant=other))
    assert one != two


def test_a_session_of_one_tenant_numbers_incidents_past_those_of_others(devices: Database) -> None:
    other = "22222222-2222-4222-8222-222222222222"
    (taken,) = raised(devices, an_alert("theirs", FILE, device=None, tenant=other))
    with devices.session(TENANT) as session:
        alert, new = raise_alert(session, an_alert("ours", FILE), WINDOW)
        assert new
        assert alert.incident_id > taken


def test_a_replay_changes_nothing(devices: Database) -> None:
    drafts = [an_alert("one", FILE), an_alert("two", FILE, C2, device=SECOND, minutes=5)]
    before = raised(devices, *drafts)
    with devices.system_read() as session:
        seen = {row.key: row.alerts for row in session.scalars(select(SeenEntity))}
    assert raised(devices, *drafts) == before
    with devices.system_read() as session:
        assert {row.key: row.alerts for row in session.scalars(select(SeenEntity))} == seen


def test_what_becomes_known_of_an_alert_merges_its_incident(devices: Database) -> None:
    one, two = raised(devices, an_alert("one", process(10)), an_alert("ids", C2, device=None, minutes=3))
    assert one != two
    more = an_alert("ids", C2, process(10), device=DEVICE, minutes=3)
    with devices.system_session() as session:
        alert = session.scalars(select(Alert).where(Alert.title == "ids")).one()
        extend_alert(session, alert, more, WINDOW)
    with devices.read(TENANT) as session:
        assert set(session.scalars(select(Alert.incident_id))) == {one}
        assert session.get_one(Incident, two).redirect_incident_id == one


def test_many_at_once_are_what_each_alone_would_be(devices: Database) -> None:
    drafts = [
        an_alert("one", process(10), minutes=0),
        an_alert("two", process(30), FILE, device=SECOND, minutes=70),
        an_alert("three", process(11, parent=10), FILE, minutes=75),
        an_alert("apart", process(90), minutes=300),
    ]
    with devices.system_session() as session:
        found = raise_many(session, drafts, WINDOW)
    first, second, third, apart = homes(devices, [identifier for identifier, _ in found])
    assert first == second == third != apart
    with devices.read(TENANT) as session:
        names = {row.name for row in session.scalars(select(Incident))}
        assert names == {"Execution incident involving one on 2 devices", "apart on host"}
        assert len(session.scalars(select(Evidence)).all()) == 6


def test_names_severity_and_times_follow_the_alerts(devices: Database) -> None:
    (number, *_) = raised(
        devices,
        an_alert("one", process(10), minutes=5, category="InitialAccess"),
        an_alert("two", process(11, parent=10), minutes=0, category="CommandAndControl"),
    )
    with devices.read(TENANT) as session:
        row = session.get_one(Incident, number)
        assert row.name == "Multi-stage incident involving Initial access & Command and control on host"
        assert (row.first_event_time, row.last_event_time) == (START, START + timedelta(minutes=5))


def test_an_alert_that_was_moved_stays_and_its_incidents_stay_apart(devices: Database) -> None:
    (one, two) = raised(
        devices, an_alert("one", process(10)), an_alert("two", process(11, parent=10), minutes=1)
    )
    assert one == two
    with devices.session(TENANT) as session:
        alert = session.scalars(select(Alert).where(Alert.title == "two")).one()
        fresh = move_alerts(session, [alert], FRESH, "ann").id
    assert fresh != one
    (third,) = raised(devices, an_alert("three", process(12, parent=11), process(13, parent=10), minutes=2))
    with devices.read(TENANT) as session:
        by_title = {row.title: row.incident_id for row in session.scalars(select(Alert))}
        assert (by_title["one"], by_title["two"]) == (one, fresh)
        assert third in (one, fresh)
        assert session.get_one(Incident, one).name.endswith("on host")


def test_an_incident_that_is_left_empty_points_to_where_its_alert_went(devices: Database) -> None:
    one, two = raised(devices, an_alert("one", process(10)), an_alert("two", process(30), minutes=90))
    with devices.session(TENANT) as session:
        alert = session.scalars(select(Alert).where(Alert.title == "two")).one()
        move_alerts(session, [alert], one, "ann")
    with devices.read(TENANT) as session:
        left = session.get_one(Incident, two)
        assert (left.status, left.redirect_incident_id, left.tags) == ("Redirected", one, ["Redirected"])


def test_alerts_raised_at_once_by_several_find_each_other(devices: Database) -> None:
    drafts = [
        an_alert(f"alert {number}", process(100 + number, parent=10), device=DEVICE, minutes=number)
        for number in range(8)
    ]
    together = threading.Barrier(len(drafts))
    failures: list[BaseException] = []

    def work(draft: AlertDraft) -> None:
        together.wait(10)
        try:
            with devices.system_session() as session:
                raise_alert(session, draft, WINDOW)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(draft,)) for draft in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    with devices.read(TENANT) as session:
        assert len(set(session.scalars(select(Alert.incident_id)))) == 1
        assert len(session.scalars(select(Incident)).all()) == 1


def test_old_links_are_forgotten(devices: Database) -> None:
    raised(devices, an_alert("old", FILE, minutes=-60 * 24 * 90), an_alert("new", C2))
    assert forget(devices) > 0
    with devices.system_read() as session:
        left = set(session.scalars(select(AlertLink.alert_id)))
        assert left == set(session.scalars(select(Alert.id).where(Alert.title == "new")))


def test_a_start_that_two_sources_date_differently_is_one_process() -> None:
    started = datetime.fromisoformat("2026-01-02T03:04:05.003+00:00")
    links = {process_link(DEVICE, 7, started + timedelta(milliseconds=step), "x") for step in (0, 2, 40)}
    assert len(links) == 1


ENTITIES = (process(10), process(20), FILE, C2, EvidenceDraft("Url", url="http://evil.example"), process(30))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    named=st.lists(
        st.sets(st.integers(0, len(ENTITIES) - 1), min_size=1, max_size=2), min_size=2, max_size=8
    ),
    chance=st.randoms(use_true_random=False),
)
def test_the_order_of_alerts_does_not_matter(
    devices: Database, named: list[set[int]], chance: object
) -> None:
    """By rare entities, in time: then incidents are what hangs together, whoever comes first."""
    drafts = [
        an_alert(f"a{number}", *(ENTITIES[each] for each in sorted(mine)), minutes=90 * number)
        for number, mine in enumerate(named)
    ]
    groups = []
    for order in (drafts, chance.sample(drafts, len(drafts))):  # type: ignore[attr-defined]
        tenant = str(uuid4())
        with devices.system_session() as session:
            session.add(Tenant(id=tenant, name=tenant, created_time=now()))
        for draft in order:
            with devices.system_session() as session:
                raise_alert(session, AlertDraft(**{**vars(draft), "tenant_id": tenant}), WINDOW)
        found: dict[int, set[str]] = {}
        with devices.read(tenant) as session:
            for row in session.scalars(select(Alert)):
                found.setdefault(row.incident_id, set()).add(row.title)
        groups.append(sorted(map(sorted, found.values())))
        with devices.system_session() as session:
            session.execute(delete(Alert).where(Alert.tenant_id == tenant))
    assert groups[0] == groups[1]
