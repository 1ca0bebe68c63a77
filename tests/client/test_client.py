"""`shieldwall.client` against the real server, and against a network that fails."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shieldwall.api.contract import load, shape
from shieldwall.client import (
    AsyncClient,
    Call,
    Client,
    ClientError,
    Credentials,
    Listing,
    RequestFailed,
    Retries,
    SignInFailed,
    calls,
)
from shieldwall.client.calls import listing
from tests.api.conftest import DEVICE, SECOND
from tests.client.conftest import Live
from tests.conftest import OTHER_TENANT

ALERT = f"da{1:018d}_1"


class Failing(httpx.BaseTransport):
    """The way to the real server, which answers some requests itself before it lets any through."""

    def __init__(self, trust: ssl.SSLContext, *instead: httpx.Response | Exception) -> None:
        self._way = httpx.HTTPTransport(verify=trust)
        self._instead = list(instead)
        self.seen: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append((request.method, request.url.path))
        if self._instead and "/oauth2/" not in request.url.path:
            found = self._instead.pop(0)
            if isinstance(found, Exception):
                raise found
            return found
        return self._way.handle_request(request)

    def close(self) -> None:
        self._way.close()


def status(code: int, **headers: str) -> httpx.Response:
    return httpx.Response(code, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
def waits() -> list[float]:
    return []


def test_entities_and_lists_come_typed(live: Live) -> None:
    with live.client() as client:
        assert client.send(calls.machine(DEVICE))["computerDnsName"] == "Web01.contoso.com"
        assert [each["id"] for each in client.each(calls.machines(orderby="id"))] == [DEVICE, SECOND]
        first = client.send(calls.alerts(filter="severity eq 'High'", expand="evidence", top=1))
        assert first["value"][0]["evidence"]  # type: ignore[index, call-overload]
        assert client.send(calls.alert(ALERT))["machineId"] == DEVICE
        assert [each["incidentId"] for each in client.each(calls.incidents())] == [1]
        assert client.send(calls.incident(1))["alerts"]


def test_all_pages_are_read(live: Live) -> None:
    with live.client() as client:
        pages = Listing[Any]("GET", "/api/alerts", {"pageSize": "1", "$orderby": "id"})
        assert [each["id"][-3:] for each in client.each(pages)] == ["1_1", "2_1", "3_1", "4_1"]


def test_changes_are_made(live: Live) -> None:
    with live.client() as client:
        assert client.send(calls.update_alert(ALERT, comment="by the client"))["comments"][-1]["comment"]
        assert client.send(calls.update_alerts([ALERT], status="InProgress")) is None  # type: ignore[func-returns-value]
        assert "x" in client.send(calls.tag(DEVICE, "x"))["machineTags"]
        assert "x" not in client.send(calls.tag(DEVICE, "x", remove=True))["machineTags"]
        action = client.send(calls.isolate(SECOND, "test"))
        assert (action["type"], action["status"]) == ("Isolate", "Pending")
        assert client.send(calls.cancel_action(action["id"], "enough"))["status"] == "Cancelled"
        made = client.send(calls.submit_indicator("203.0.113.1", "IpAddress", "Block", "t", "d"))
        assert made["id"] in [each["id"] for each in client.each(calls.indicators())]
        client.send(calls.delete_indicator(made["id"]))
        assert made["id"] not in [each["id"] for each in client.each(calls.indicators())]


def test_hunting_answers_rows(live: Live) -> None:
    with live.client() as client:
        assert client.send(calls.hunt("print Answer=42"))["Results"] == [{"Answer": 42}]


def test_the_async_client_does_the_same(live: Live) -> None:
    async def work() -> tuple[list[str], str]:
        async with AsyncClient(live.url, live.credentials, verify=live.trust) as client:
            ids = [each["id"] async for each in client.each(listing("/api/machines", orderby="id"))]
            one = await client.send(calls.machine(DEVICE))
            with pytest.raises(RequestFailed, match="404 ResourceNotFound"):
                await client.send(calls.machine("nothing"))
            return ids, one["id"]

    assert asyncio.run(work()) == ([DEVICE, SECOND], DEVICE)


def test_refusals_carry_the_documented_code(live: Live) -> None:
    with live.client() as client:
        with pytest.raises(RequestFailed) as caught:
            client.send(calls.alert("nothing"))
        assert (caught.value.status, caught.value.code) == (404, "ResourceNotFound")
        assert "nothing" in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"client_secret": "x"}, "AADSTS7000215"),
        ({"tenant": OTHER_TENANT}, "AADSTS700016"),
        ({"tenant": "nowhere.example"}, "AADSTS90002"),
    ],
)
def test_a_refused_sign_in_says_why(live: Live, wrong: dict[str, str], text: str) -> None:
    known = {"tenant": live.tenant, "client_id": live.client_id, "client_secret": live.secret} | wrong
    with (
        Client(live.url, Credentials(**known), verify=live.trust) as client,
        pytest.raises(SignInFailed, match=text),
    ):
        client.send(calls.machine(DEVICE))


def test_a_token_may_be_asked_for_by_the_hosts_name_without_its_port(live: Live) -> None:
    me = Credentials(live.tenant, live.client_id, live.secret, scope="https://127.0.0.1/.default")
    with Client(live.url, me, verify=live.trust) as client:
        assert client.send(calls.machine(DEVICE))["id"] == DEVICE


def test_secrets_are_not_shown() -> None:
    assert "hidden" not in repr(Credentials("t", "c", "hidden"))


def test_what_the_server_puts_off_is_tried_again_when_it_says(live: Live, waits: list[float]) -> None:
    way = Failing(
        live.trust, status(429, retry_after="7"), status(503), status(500), status(429, retry_after="x")
    )
    with live.client(transport=way, sleep=waits.append) as client:
        assert client.send(calls.machine(DEVICE))["id"] == DEVICE
    assert waits[0] == 7
    assert len(waits) == 4
    assert all(0 < wait <= 16 for wait in waits[1:])


def test_it_gives_up_after_some_tries(live: Live, waits: list[float]) -> None:
    way = Failing(live.trust, *(status(429, retry_after="900") for _ in range(9)))
    client = live.client(transport=way, sleep=waits.append, retries=Retries(tries=3, longest=20))
    with client, pytest.raises(RequestFailed, match="429"):
        client.send(calls.machine(DEVICE))
    assert waits == [20, 20]


@pytest.mark.parametrize("failure", [httpx.ConnectError("gone"), status(502)], ids=["network", "gateway"])
def test_what_may_have_been_done_is_not_done_twice(live: Live, waits: list[float], failure: Any) -> None:
    way = Failing(live.trust, failure)
    with live.client(transport=way, sleep=waits.append) as client, pytest.raises(ClientError):
        client.send(calls.isolate(DEVICE, "once"))
    assert [seen for seen in way.seen if seen[1].startswith("/api")] == [
        ("POST", f"/api/machines/{DEVICE}/isolate")
    ]
    assert not waits


def test_reading_survives_a_broken_connection(live: Live, waits: list[float]) -> None:
    with live.client(transport=Failing(live.trust, httpx.ReadError("gone")), sleep=waits.append) as client:
        assert client.send(calls.machine(DEVICE))["id"] == DEVICE


def test_one_token_serves_many_calls_and_is_replaced_when_refused(live: Live) -> None:
    way = Failing(live.trust)
    with live.client(transport=way) as client:
        for _ in range(3):
            client.send(calls.machine(DEVICE))
        way._instead.append(status(401))
        client.send(calls.machine(DEVICE))
    assert sum("/oauth2/" in path for _, path in way.seen) == 2


def test_the_token_goes_to_no_other_host(live: Live) -> None:
    foreign = {"value": [{"id": "a"}], "@odata.nextLink": "https://elsewhere.example/api/machines?$top=1"}
    way = Failing(live.trust, httpx.Response(200, json=foreign))
    hosts: set[str] = set()
    inner = way.handle_request

    def watched(request: httpx.Request) -> httpx.Response:
        hosts.add(request.url.host)
        return inner(request)

    way.handle_request = watched  # type: ignore[method-assign]
    with live.client(transport=way) as client:
        assert len(list(client.each(calls.machines()))) == 2
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize(
    "link", ["@elsewhere.example/x", ".elsewhere.example/x", "", ":8443@elsewhere.example"]
)
def test_a_link_cannot_become_a_part_of_the_hosts_name(live: Live, link: str) -> None:
    foreign = {"value": [], "@odata.nextLink": link}
    way = Failing(live.trust, httpx.Response(200, json=foreign))
    with live.client(transport=way) as client, pytest.raises(ClientError, match="not a path of the server"):
        list(client.each(calls.machines()))
    with live.client() as client, pytest.raises(ClientError, match="not a path of the server"):
        client.send(Call[Any]("GET", "elsewhere.example/x"))


def test_a_redirection_is_not_followed(live: Live) -> None:
    way = Failing(live.trust, status(302, location="https://elsewhere.example/"))
    with live.client(transport=way) as client, pytest.raises(RequestFailed, match="302"):
        client.send(calls.machine(DEVICE))


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://edr.example.org", ""),
        ("https://edr.example.org", "http://login.example.org"),
        ("ftp://127.0.0.1", ""),
        ("https://user:word@edr.example.org", ""),
        ("https://edr.example.org?x=1", ""),
        ("edr.example.org", ""),
    ],
)
def test_secrets_are_sent_encrypted_only(url: str, authority: str) -> None:
    me = Credentials("t", "c", "hidden", authority=authority)
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match=r"https only|server alone") as refused:
            kind(url, me)
        assert "hidden" not in str(refused.value)
        assert "word" not in str(refused.value)
    Client("http://127.0.0.1:8080", Credentials("t", "c", "s")).close()


def test_a_certificate_of_another_authority_is_refused(live: Live) -> None:
    with Client(live.url, live.credentials, retries=Retries(tries=1)) as client, pytest.raises(ClientError):
        client.send(calls.machine(DEVICE))


@pytest.mark.parametrize("said", ["²", "-1", "1e9", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_a_strange_retry_after_is_no_failure(live: Live, waits: list[float], said: str) -> None:
    strange = httpx.Response(429, headers=[(b"retry-after", said.encode("latin-1"))])
    with live.client(transport=Failing(live.trust, strange), sleep=waits.append) as client:
        assert client.send(calls.machine(DEVICE))["id"] == DEVICE
    assert 0 <= waits[0] <= 60


def every_call() -> Iterator[Call[Any]]:
    yield from (calls.alerts(), calls.alert("x"), calls.update_alert("x"), calls.update_alerts([]))
    yield from (calls.machines(), calls.machine("x"), calls.machine_alerts("x"), calls.tag("x", "y"))
    yield from (calls.isolate("x", "y"), calls.unisolate("x", "y"), calls.collect_package("x", "y"))
    yield from (
        calls.scan("x", "y"),
        calls.stop_and_quarantine("x", "y", "z"),
        calls.live_response("x", [], "y"),
    )
    yield from (calls.machine_actions(), calls.machine_action("x"), calls.cancel_action("x", "y"))
    yield from (calls.package_link("x"), calls.indicators(), calls.import_indicators([]))
    yield from (calls.submit_indicator("a", "b", "c", "d", "e"), calls.delete_indicator("x"))
    yield from (calls.incidents(), calls.incident(1), calls.update_incident(1), calls.hunt("x"))


def test_every_call_is_an_operation_of_the_contract_with_its_body() -> None:
    known = {(each.method, shape(each.path)): each for each in load().operations}
    for call in every_call():
        path = call.path.replace("/x", "/{id}").replace("/incidents/1", "/incidents/{id}")
        operation = known[call.method, shape(path)]
        assert set(call.body or ()) <= set(operation.body or ()), call
        needed = {name for name, kind in (operation.body or {}).items() if kind.required}
        assert needed <= set(call.body or ()), call
