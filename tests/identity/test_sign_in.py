"""Floods of guesses: counted by source, bounded in memory and in work."""

from __future__ import annotations

import asyncio

import pytest

from shieldwall.errors import ApiError
from shieldwall.identity import applications, sign_in
from shieldwall.identity.applications import SignInError
from shieldwall.identity.sign_in import Failures, SignIn
from shieldwall.state.engine import Database
from tests.conftest import TENANT

UNKNOWN = "99999999-9999-4999-8999-999999999999"


def blocked(failures: Failures, address: str, client_id: str) -> bool:
    try:
        failures.check(address, client_id)
    except ApiError as error:
        return error.status == 429 and 1 <= int(error.headers["Retry-After"]) <= sign_in.WINDOW
    return False


def test_failures_count_by_client_and_address() -> None:
    failures = Failures()
    for _ in range(sign_in.FAILURES_BY_CLIENT):
        assert not blocked(failures, "192.0.2.1", "a")
        failures.add("192.0.2.1", "a")
    assert blocked(failures, "192.0.2.1", "A")
    assert not blocked(failures, "192.0.2.1", "b")
    assert not blocked(failures, "192.0.2.2", "a")


def test_one_address_cannot_go_through_many_clients() -> None:
    failures = Failures()
    for number in range(sign_in.FAILURES_BY_ADDRESS):
        assert not blocked(failures, "192.0.2.1", f"client{number}")
        failures.add("192.0.2.1", f"client{number}")
    assert blocked(failures, "192.0.2.1", "another")


def test_an_ipv6_network_is_one_source() -> None:
    failures = Failures()
    for number in range(sign_in.FAILURES_BY_CLIENT):
        failures.add(f"2001:db8::{number:x}", "a")
    assert blocked(failures, "2001:db8::ffff", "a")
    assert not blocked(failures, "2001:db8:0:1::1", "a")
    assert not blocked(failures, "not an address", "a")


def test_failures_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "WINDOW", 0.05)
    failures = Failures()
    for _ in range(sign_in.FAILURES_BY_CLIENT):
        failures.add("192.0.2.1", "a")
    asyncio.run(asyncio.sleep(0.06))
    assert not blocked(failures, "192.0.2.1", "a")


def test_sources_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "SOURCES_LIMIT", 50)
    failures = Failures()
    for number in range(500):
        failures.add(f"192.0.{number // 250}.{number % 250}", "x" * 10_000)
    assert len(failures._counts) == 50


def test_a_flood_from_everywhere_is_cut_off_while_known_clients_pass(database: Database) -> None:
    application, secret = applications.create_application(database, TENANT, "x", ["Machine.Scan"])
    applications.authenticate(database, TENANT, application.id, secret)

    async def attempt(signer: SignIn, number: int) -> str:
        try:
            await signer.client(TENANT, UNKNOWN, "guess", f"192.0.2.{number}")
        except SignInError:
            return "refused"
        except ApiError as error:
            return str(error.status)
        return "let in"

    async def flood() -> list[str]:
        signer = SignIn(database)
        attempts = [asyncio.create_task(attempt(signer, number)) for number in range(80)]
        known = await signer.client(TENANT, application.id, secret, "192.0.2.1")
        assert known.id == application.id
        assert not all(task.done() for task in attempts)
        return await asyncio.gather(*attempts)

    outcomes = asyncio.run(flood())
    assert set(outcomes) == {"refused", "429"}
    assert outcomes.count("429") >= 80 - sign_in.CHECKS_WAITING - 20
