"""Audit records as the kernel writes them."""

from hypothesis import given
from hypothesis import strategies as st

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
