"""The indicator list: what is accepted, what wins, what survives."""

import time
from pathlib import Path

import pytest
from scratch import indicator

from shieldwall_agent.enforcement.policy import Changes, PolicyStore, RevisionGap, longest_match

SHA256, SHA1, MD5 = "a" * 64, "b" * 40, "c" * 32


@pytest.fixture
def policy(tmp_path: Path) -> PolicyStore:
    return PolicyStore(tmp_path)


def full(*entries: dict[str, object], to: int = 1) -> dict[str, object]:
    return {"from": 0, "to": to, "full": True, "upsert": list(entries), "delete": []}


def test_the_list_survives_a_restart_and_listeners_hear_of_changes(tmp_path: Path) -> None:
    policy = PolicyStore(tmp_path)
    heard: list[Changes] = []
    policy.listen(heard.append)
    policy.apply_delta(full(indicator(SHA256), indicator("10.0.0.9", "IpAddress", identity="2")))
    policy.apply_delta({"from": 1, "to": 2, "upsert": [], "delete": ["2"]})
    policy.close()
    again = PolicyStore(tmp_path)
    assert again.revision == 2
    assert [i.value for i in again.all()] == [SHA256]
    assert [i.value for i in heard[1].removed] == ["10.0.0.9"]


def test_deltas_out_of_order(policy: PolicyStore) -> None:
    policy.apply_delta(full(indicator(SHA256), to=5))
    with pytest.raises(RevisionGap):
        policy.apply_delta({"from": 7, "to": 8, "upsert": [], "delete": ["1"]})
    assert policy.apply_delta({"from": 3, "to": 4, "upsert": [], "delete": ["1"]}) == Changes()
    assert len(policy.all()) == 1
    for body in ({}, {"from": "x", "to": 1}, {"from": 5, "to": 6, "upsert": 3}):
        with pytest.raises(ValueError, match=r"."):
            policy.apply_delta(body)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("FileSha256", "a" * 63),
        ("FileSha256", "g" * 64),
        ("IpAddress", "10.0.0.0/8"),
        ("IpAddress", "10.0.0.1; flush ruleset"),
        ("IpAddress", "fe80::1%eth0"),
        ("DomainName", "evil.example\n}"),
        ("DomainName", "a" * 64 + ".example"),
        ("DomainName", "*.example"),
        ("Url", "http://a b/"),
        ("Shell", "x"),
    ],
)
def test_hostile_values_are_refused_and_the_rest_is_kept(policy: PolicyStore, kind: str, value: str) -> None:
    changes = policy.apply_delta(full(indicator(value, kind, identity="bad"), indicator(SHA256)))
    assert [identity for identity, _ in changes.rejected] == ["bad"]
    assert [i.value for i in policy.all()] == [SHA256]


def test_an_indicator_that_becomes_unusable_is_no_longer_enforced(policy: PolicyStore) -> None:
    policy.apply_delta(full(indicator(SHA256)))
    policy.apply_delta({"from": 1, "to": 2, "upsert": [indicator("nonsense")], "delete": []})
    assert policy.all() == []


def test_the_strongest_hash_wins_and_then_the_strictest_action(policy: PolicyStore) -> None:
    policy.apply_delta(
        full(
            indicator(MD5, "FileMd5", identity="1"),
            indicator(SHA1, "FileSha1", "Allowed", identity="2"),
            indicator(SHA1, "FileSha1", "Warn", identity="3"),
            indicator(SHA256, action="Allowed", identity="4"),
        )
    )
    rule = policy.file_rule({"FileSha256": SHA256, "FileSha1": SHA1, "FileMd5": MD5})
    assert rule
    assert rule.id == "4"
    rule = policy.file_rule({"FileSha1": SHA1, "FileMd5": MD5})
    assert rule
    assert rule.id == "3"


def test_addresses_and_domains_of_urls(policy: PolicyStore) -> None:
    policy.apply_delta(
        full(
            indicator("2001:0DB8:0000:0000:0000:0000:0000:0001", "IpAddress", identity="1"),
            indicator("http://192.0.2.7/", "Url", identity="2"),
            indicator("https://bad.example", "Url", identity="3"),
            indicator("https://part.example/path", "Url", identity="4"),
            indicator("https://port.example:8443/", "Url", identity="5"),
            indicator("Evil.Example.", "DomainName", identity="6"),
            indicator("good.evil.example", "DomainName", "Allowed", identity="7"),
            indicator("evil.example", "DomainName", "Warn", identity="8"),
        )
    )
    assert set(policy.address_rules()) == {"2001:db8::1", "192.0.2.7"}
    rules = policy.domain_rules()
    assert set(rules) == {"bad.example", "evil.example", "good.evil.example"}
    assert rules["evil.example"].action == "Warn"  # network: Allow > Warn > Block
    match = longest_match("www.GOOD.evil.example.", rules)
    assert match
    assert match.action == "Allowed"
    assert longest_match("notevil.example", rules) is None


def test_expiry_is_to_the_second(policy: PolicyStore) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    policy.apply_delta(full(indicator(SHA256, expires=soon)))
    assert policy.file_rule({"FileSha256": SHA256})
    expiry = policy.next_expiry()
    assert expiry
    assert policy.expire(expiry - 0.5).removed == ()
    assert [i.value for i in policy.expire(expiry).removed] == [SHA256]
    assert policy.next_expiry() is None


def test_a_damaged_file_is_set_aside_and_the_server_asked_for_everything(tmp_path: Path) -> None:
    (tmp_path / "indicators.sqlite").write_bytes(b"not a database" * 1000)
    policy = PolicyStore(tmp_path)
    assert policy.revision == 0
    policy.apply_delta(full(indicator(SHA256)))
    assert policy.all()


def test_all_hashes_of_a_kind_with_the_strictest_action_of_each(policy: PolicyStore) -> None:
    policy.apply_delta(
        full(
            indicator(SHA256, action="Audit", identity="1"),
            indicator(SHA256, action="Block", identity="2"),
            indicator(SHA256, action="Allowed", identity="3"),
            indicator("0" * 64, expires="2020-01-01T00:00:00Z", identity="4"),
            indicator("0" * 40, "FileSha1", identity="5"),
        )
    )
    assert policy.file_rules("FileSha256") == {SHA256: ("Block", None)}
    assert policy.file_rules("FileSha1") == {"0" * 40: ("Block", None)}
