"""Lines of the system's log, with names in them that strangers chose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors.logon_lines import from_line, from_message

OLD, NEW = "Nov  1 10:00:00 host ", "2026-11-01T10:00:00.123456+01:00 host "
ACCEPTED = "Accepted password for root from 203.0.113.1 port 1 ssh2"


def _told(program: str, message: str) -> tuple[str, str, str, str] | None:
    event = from_message(program, 9, message, 1.0)
    return event and (
        event["ActionType"], event["LogonType"], event["AccountName"], event.get("RemoteIP", ""),
    )  # fmt: skip


@pytest.mark.parametrize("begin", [OLD, NEW])
def test_reads_old_and_new_lines(begin: str) -> None:
    event = from_line(
        begin + "sshd[12]: Accepted publickey for bob from 192.0.2.1 port 5022 ssh2: RSA x", 1.0
    )
    assert event
    assert (event["AccountName"], event["RemotePort"], event["InitiatingProcessId"]) == ("bob", 5022, 12)
    assert from_line(begin + "sudo:    bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls", 1.0)
    assert from_line(begin + "CRON[9]: (root) CMD (true)", 1.0) is None


@pytest.mark.parametrize(
    ("program", "message", "told"),
    [
        ("sshd-session", ACCEPTED, ("LogonSuccess", "RemoteInteractive", "root", "203.0.113.1")),
        (
            "sshd",
            "Failed password for invalid user eve from fe80::1%eth0 port 5 ssh2",
            ("LogonFailed", "RemoteInteractive", "eve", "fe80::1%eth0"),
        ),
        (
            "sudo",
            "bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/ls",
            ("LogonSuccess", "Local", "root", ""),
        ),
        (
            "sudo",
            "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
            ("LogonFailed", "Local", "root", ""),
        ),
        ("su", "(to root) bob on pts/1", ("LogonSuccess", "Local", "root", "")),
        ("su", "FAILED SU (to root) bob on pts/1", ("LogonFailed", "Local", "root", "")),
        (
            "gdm-password]",
            "pam_unix(gdm-password:session): session opened for user bob(uid=1000) by (uid=0)",
            ("LogonSuccess", "Interactive", "bob", ""),
        ),
        (
            "login",
            "pam_unix(login:auth): authentication failure; uid=0 euid=0 tty=tty1 ruser= rhost=  user=bob",
            ("LogonFailed", "Interactive", "bob", ""),
        ),
        ("sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by bob(uid=1000)", None),
        ("cron", ACCEPTED, None),
    ],
)
def test_reads_messages(program: str, message: str, told: tuple[str, str, str, str] | None) -> None:
    assert _told(program, message) == told


def test_takes_no_name_for_a_message() -> None:
    """What a stranger gives for a user name makes neither a logon nor another address."""
    name = "x from 198.51.100.1 port 1 ssh2"
    for injected in (ACCEPTED, f"sshd[1]: {ACCEPTED}", name, "bob : TTY=a ; PWD=/ ; USER=root ; x"):
        line = f"sshd[5]: Failed password for invalid user {injected} from 192.0.2.9 port 5 ssh2"
        event = from_line(OLD + line, 1.0)
        assert event
        assert (event["ActionType"], event["AccountName"], event["RemoteIP"]) == (
            "LogonFailed",
            injected,
            "192.0.2.9",
        )
        assert from_line(f"{OLD}sshd[5]: Invalid user {injected} from 192.0.2.9 port 5", 1.0) is None
    pam = "pam_unix(login:auth): authentication failure; logname= uid=0 ruser= rhost=  user=eve user=root"
    assert _told("login", pam) == ("LogonFailed", "Interactive", "eve user=root", "")


@given(st.sampled_from(["sshd", "sudo", "su", "login"]), st.text(max_size=200))
def test_no_text_crashes(program: str, message: str) -> None:
    from_message(program, 1, message, 1.0)
    from_line(OLD + f"{program}[1]: {message}", 1.0)
    from_line(message, 1.0)
