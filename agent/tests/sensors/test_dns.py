"""DNS questions from payloads that anyone may have sent."""

from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors.dns import question

HEAD = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0"


def test_reads_name_and_type() -> None:
    assert question(HEAD + b"\x03WWW\x07example\0\x00\x10\x00\x01") == ("www.example", "TXT")
    assert question(HEAD + b"\x01a\0\x12\x34\x00\x01") == ("a", "4660")


def test_refuses_answers_pointers_and_cut_queries() -> None:
    whole = HEAD + b"\x03www\0\x00\x01\x00\x01"
    assert question(whole)
    assert question(whole[:2] + b"\x81" + whole[3:]) is None
    assert question(HEAD + b"\xc0\x0c\x00\x01\x00\x01") is None
    assert all(question(whole[:size]) is None for size in range(len(whole)))


@given(st.binary(max_size=600))
def test_no_bytes_crash(payload: bytes) -> None:
    question(payload)
    question(HEAD + payload)
