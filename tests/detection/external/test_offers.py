"""What alerts accuse, offered as indicators, or put on every agent's list as the policy says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shieldwall.alerts.models import Alert
from shieldwall.detection.external import offers as offers_module
from shieldwall.detection.external import policy
from shieldwall.detection.external.models import IndicatorOffer
from shieldwall.detection.indicators import IndicatorService
from shieldwall.detection.models import Indicator
from shieldwall.errors import ApiError
from shieldwall.settings import Settings
from shieldwall.times import now
from tests.detection.external.conftest import BAD, GATEWAY, World, connection, suricata
from tests.detection.external.test_resolution import ours

SHA256 = "ab" * 32


def offers(world: World) -> dict[str, IndicatorOffer]:
    with world.database.read(world.tenant) as session:
        return {row.indicator_value: row for row in session.scalars(select(IndicatorOffer))}


def listed(world: World) -> dict[str, Indicator]:
    with world.database.read(world.tenant) as session:
        return {row.indicator_value: row for row in session.scalars(select(Indicator))}


def set_policy(world: World, *rules: dict[str, Any], **more: Any) -> None:
    policy.change(world.database, world.tenant, world.admin, {"rules": list(rules), **more})


def test_malicious_values_are_offered_and_not_applied(world: World) -> None:
    world.report(connection())
    outcome = world.one(suricata())
    found = offers(world)
    assert set(found) == {BAD, "bad.example"}
    offer = found[BAD]
    assert (offer.alert_id, offer.indicator_type, offer.state) == (outcome.alert_id, "IpAddress", "Offered")
    assert (offer.source, offer.severity, offer.action) == ("OISF Suricata", "High", "Block")
    assert listed(world) == {}


def test_by_policy_they_reach_the_agents_list(world: World) -> None:
    set_policy(world, {"vendor": "OISF", "mode": "apply", "action": "Block", "days": 5})
    with world.database.read(world.tenant) as session:
        before = world.indicators.changes_since(session, world.tenant, 0, "")
    outcome = world.one(suricata())
    with world.database.read(world.tenant) as session:
        delta = world.indicators.changes_since(session, world.tenant, before.end if before else 0, "")
    assert delta is not None
    told = {(entry["type"], entry["value"], entry["action"]) for entry in delta.upsert}
    assert told == {("IpAddress", BAD, "Block"), ("DomainName", "bad.example", "Block")}
    indicator = listed(world)[BAD]
    assert indicator.external_id == outcome.alert_id
    assert (indicator.source, indicator.application) == ("OISF Suricata", "OISF Suricata")
    assert indicator.description == f"Named by alert {outcome.alert_id} of OISF Suricata."
    assert indicator.expiration_time is not None
    assert timedelta(days=4) < indicator.expiration_time - now() < timedelta(days=6)
    assert offers(world)[BAD].indicator_id == indicator.id


def test_an_applied_indicator_alerts_on_the_next_connection(world: World) -> None:
    set_policy(world, {"mode": "apply", "action": "Audit"})
    first = world.one(suricata(source=(GATEWAY, 61234)))
    world.report(connection())
    with world.database.read(world.tenant) as session:
        own = session.scalars(select(Alert).where(Alert.detection_source == "CustomerTI")).all()
    assert own
    assert first.alert_id not in {alert.id for alert in own}


def test_the_first_rule_that_fits_decides(world: World) -> None:
    set_policy(
        world,
        {"vendor": "Noisy", "mode": "off"},
        {"vendor": "Contoso", "minSeverity": "High", "mode": "apply", "types": ["File"]},
        {"minSeverity": "Low", "mode": "offer", "action": "Audit"},
    )
    accused = {"files": [{"sha256": SHA256}], "network": {"domain": "evil.example"}}
    world.one(ours(vendor="Noisy", files=[{"sha256": "cd" * 32}]))
    world.one(ours(severity="Informational", files=[{"sha256": "ef" * 32}]))
    world.one(ours(**accused))
    assert {value: row.state for value, row in offers(world).items()} == {SHA256: "Applied"}
    world.one(ours(title="again", severity="Low", **accused))
    found = offers(world)["evil.example"]
    assert (found.state, found.action) == ("Offered", "Audit")


@pytest.mark.parametrize(
    "network",
    [
        {"destinationAddress": "8.8.8.8"},
        {"destinationAddress": "10.1.2.3"},
        {"destinationAddress": "127.0.0.1"},
        {"destinationAddress": "203.0.113.9"},
        {"destinationAddress": "2001:4860:4860::8888"},
        {"destinationAddress": GATEWAY},
        {"destinationAddress": "11.9.9.9"},
        {"domain": "web01.contoso.com"},
        {"domain": "intranet.contoso.com"},
        {"domain": "www.good.example"},
        {"url": "http://www.good.example/a"},
        {"url": "http://10.1.2.3/a"},
        {"domain": "fine.test"},
        {"domain": "no domain"},
    ],
)
def test_what_would_do_harm_is_never_offered(
    world: World, list_indicator: Callable[..., None], network: dict[str, Any]
) -> None:
    set_policy(
        world, {"mode": "apply", "minSeverity": "Low"}, allowed=["Good.example", "11.9.9.0/24", "cd" * 32]
    )
    list_indicator("fine.test", indicatorType="DomainName", action="Allowed")
    world.one(ours(network={"sourceAddress": "10.0.0.5", **network}, files=[{"sha256": "CD" * 32}]))
    assert offers(world) == {}
    assert set(listed(world)) == {"fine.test"}


def test_neither_the_program_that_acted_nor_a_named_file_is_accused(world: World) -> None:
    world.report(connection())
    world.one({**suricata(), "tls": {}})
    world.one(ours(files=[{"sha256": SHA256, "malicious": False}], processes=[{"sha256": "cd" * 32}]))
    assert set(offers(world)) == {BAD}


def test_of_a_page_on_a_shared_host_only_the_page_is_offered(world: World) -> None:
    world.one(ours(network={"url": "https://files.example/u/evil", "domain": "files.example"}))
    assert set(offers(world)) == {"https://files.example/u/evil"}


def test_what_is_on_the_list_stays_as_it_is(world: World, list_indicator: Callable[..., None]) -> None:
    list_indicator(BAD)
    set_policy(world, {"mode": "apply", "action": "Block"})
    world.one(suricata())
    assert listed(world)[BAD].action == "Audit"
    assert set(offers(world)) == {"bad.example"}


def test_what_was_accepted_is_applied_after_a_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_policy(world, {"mode": "apply"})
    with monkeypatch.context() as patched:
        patched.setattr(world.offers, "apply_accepted", lambda tenant_id: 0)
        world.one(suricata())
    assert {row.state for row in offers(world).values()} == {"Accepted"}
    assert world.offers.apply_accepted() == 2
    assert set(listed(world)) == {BAD, "bad.example"}
    assert world.offers.apply_accepted() == 0


def test_one_that_cannot_be_listed_fails_and_can_be_approved_later(world: World) -> None:
    set_policy(world, {"mode": "apply"})
    world.offers._indicators = IndicatorService(
        world.database, world.wakeups, Settings(indicators_per_tenant=0)
    )
    world.one(ours(files=[{"sha256": SHA256}]))
    offer = offers(world)[SHA256]
    assert (offer.state, offer.indicator_id) == ("Failed", None)
    assert offer.reason is not None
    assert "Max capacity" in offer.reason
    with pytest.raises(ApiError, match="Max capacity"):
        world.offers.approve(world.tenant, world.admin, offer.id, None, None)
    world.offers._indicators = world.indicators
    approved = world.offers.approve(world.tenant, world.admin, offer.id, "Audit", 3)
    assert (approved.state, approved.decided_by) == ("Applied", "admin")
    assert listed(world)[SHA256].created_by == "admin"


def test_a_day_has_a_bound_on_what_policy_applies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers_module, "APPLIED_PER_DAY", 2)
    set_policy(world, {"mode": "apply"})
    for number in range(4):
        world.one(ours(title=f"t{number}", files=[{"sha256": f"{number:064x}"}]))
    states = [row.state for _, row in sorted(offers(world).items())]
    assert states == ["Applied", "Applied", "Offered", "Offered"]
