"""Audit records as the kernel writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors.audit_connections import connection, remote_end
from shieldwall_agent.sensors.audit_records import USER_AUTH, USER_LOGIN, arguments, logon, plain, record


def test_reads_arguments_quoted_hexadecimal_and_split() -> None:
    text = 'audit(1700000000.123:42): argc=3 a0="/bin/echo" a1=61206222 a2_len=4 a2[0]=C3 a2[1]=A961'
    found = record(text)
    assert found
    serial, when, fields = found
    assert (serial, when) == (42, 1700000000.123)
    assert arguments(fields) == '/bin/echo a b" éa'


def test_reads_a_failed_and_an_accepted_logon() -> None:
    found = record(
        "audit(1700000000.001:7): pid=12 uid=0 auid=4294967295 ses=4294967295 "
        'msg=\'op=PAM:authentication acct="eve" exe="/usr/sbin/sshd" hostname=h addr=192.0.2.9 '
        "terminal=ssh res=failed'"
    )
    assert found
    event = logon(USER_AUTH, found[1], found[2])
    assert event
    assert (event["ActionType"], event["AccountName"], event["RemoteIP"]) == (
        "LogonFailed",
        "eve",
        "192.0.2.9",
    )
    assert event["AdditionalFields"]["Terminal"] == "ssh"
    accepted = logon(USER_LOGIN, 1.0, {"acct": '"bob"', "res": "success"})
    assert accepted
    assert accepted["ActionType"] == "LogonSuccess"


@given(st.text(max_size=300))
def test_no_text_crashes(text: str) -> None:
    record(text)
    plain(text)
    found = record("audit(1.000:2): " + text)
    if found:
        arguments(found[2])
        logon(USER_LOGIN, found[1], found[2])


def test_reads_the_remote_end() -> None:
    assert remote_end({"saddr": "02000035C0000207" + "00" * 8}) == ("192.0.2.7", 53)
    mapped = "0A0001BB00000000" + "00" * 10 + "FFFF" + "C0000207" + "00" * 4
    assert remote_end({"saddr": mapped}) == ("192.0.2.7", 443)
    assert remote_end({"saddr": "01002F746D70"}) is None  # a path
    assert remote_end({"saddr": "0200"}) is None
    assert remote_end({"saddr": "020000"}) is None
    assert remote_end({"saddr": "zz"}) is None


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("-115", "ConnectionRequest"),
        ("-512", "ConnectionRequest"),
        ("-111", "ConnectionFailed"),
        ("-110", "ConnectionFailed"),
        ("-106", None),  # it was told when it began
        ("-114", None),
        ("-9", None),
    ],
)
def test_tells_how_a_call_of_connect_ended(code: str, action: str | None) -> None:
    event = connection({"exit": code, "pid": "0", "a0": "3"}, ("192.0.2.7", 53), None, 1.0)
    assert (event and event["ActionType"]) == action


@given(st.dictionaries(st.sampled_from(["exit", "pid", "a0", "saddr"]), st.text(max_size=40)))
def test_no_fields_crash(fields: dict[str, str]) -> None:
    remote_end(fields)
    connection({**fields, "pid": "0"}, ("192.0.2.7", 53), None, 1.0)
