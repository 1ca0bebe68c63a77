"""DNS messages from payloads that anyone may have sent."""

import struct
import time

import dns_peers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors.dns import MOST_ANSWERS, parse, question

HEAD = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0"
ASKED = b"\x01a\0\x00\x01\x00\x01"


def _answer(*records: tuple[int, bytes], count: int | None = None, code: int = 0) -> bytes:
    """An answer to ASKED; each record's name points at the question's."""
    told = b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data for kind, data in records
    )
    return (
        struct.pack("!6H", 7, 0x8180 | code, 1, len(records) if count is None else count, 0, 0) + ASKED + told
    )


def _told(payload: bytes) -> tuple[str, ...]:
    message = parse(payload)
    assert message
    return message.answers


def test_reads_name_and_type() -> None:
    assert question(HEAD + b"\x03WWW\x07example\0\x00\x10\x00\x01") == ("www.example", "TXT")
    assert question(HEAD + b"\x01a\0\x12\x34\x00\x01") == ("a", "4660")


def test_refuses_answers_pointers_and_cut_queries() -> None:
    whole = HEAD + b"\x03www\0\x00\x01\x00\x01"
    assert question(whole)
    assert question(whole[:2] + b"\x81" + whole[3:]) is None
    assert question(HEAD + b"\xc0\x0c\x00\x01\x00\x01") is None
    assert all(question(whole[:size]) is None for size in range(len(whole)))


def test_escapes_what_would_mislead() -> None:
    odd = b"\x04a.b\\\x04c\n\xffd\0"
    assert question(HEAD + odd + b"\0\1\0\1") == (r"a\046b\092.c\010\255d", "A")


def test_reads_what_an_answer_tells() -> None:
    payload = _answer(
        (5, b"\x03WEB\xc0\x0c"),
        (1, bytes([192, 0, 2, 1])),
        (28, bytes.fromhex("20010db8") + bytes(11) + b"\1"),
        (15, b"\0\x0a\x02mx\xc0\x0c"),
        (33, struct.pack("!HHH", 1, 2, 443) + b"\x03srv\xc0\x0c"),
        (16, b"\x03one\x02\xe9t"),
        (65, b"\0\1\0"),
        (2, b"\x02ns\xc0\x0c"),
    )
    message = parse(payload)
    assert message
    assert (message.id, message.answered, message.name, message.code) == (7, True, "a", "NOERROR")
    assert message.answers == (
        "web.a", "192.0.2.1", "2001:db8::1", "10 mx.a", "1 2 443 srv.a", r"one\233t", "ns.a",
    )  # fmt: skip
    refused = parse(_answer(code=3))
    assert refused
    assert (refused.code, refused.answers) == ("NXDOMAIN", ())


def test_keeps_what_is_whole_of_a_cut_answer() -> None:
    payload = _answer((1, bytes([192, 0, 2, 1])), (1, bytes([192, 0, 2, 2])))
    for size in range(12 + len(ASKED), len(payload)):
        assert _told(payload[:size]) in ((), ("192.0.2.1",))
    assert _told(payload[:-1]) == ("192.0.2.1",)
    assert len(_told(payload)) == 2


@pytest.mark.parametrize(
    "target",
    [
        b"\xc0\x2f",  # at itself
        b"\xc0\x30",  # into itself
        b"\xc0\x1f",  # at the address before, which read as a pointer leads into the header
        b"\xc0\x31\x01b\0",  # at a name that follows
        b"\xc0\xff",  # beyond the end
        b"\xc0\x04",  # into the header
        b"\x40abc",  # a kind of label that there is not
        b"\xc0",
    ],
)
def test_follows_no_pointer_but_backward(target: bytes) -> None:
    assert _told(_answer((1, bytes([192, 0, 2, 1])), (5, target))) == ("192.0.2.1",)


def test_costs_little_whatever_comes() -> None:
    # Pointers to pointers, names of the greatest length, more records than are read.
    long = (b"\x3f" + b"x" * 63) * 3 + b"\x3c" + b"y" * 60 + b"\0"
    first = 12 + len(ASKED) + 12  # where the data of the first record is
    chain = b"".join(
        struct.pack("!H", 0xC000 | (place - 2 if place > first else 12)) for place in range(first, 0x3FF0, 2)
    )
    hostile = [
        _answer(*[(5, long)] * 400, count=65535),
        _answer((99, chain), *[(5, chain[-2:])] * 40, count=65535),
        _answer((16, b"\0" * 60_000), count=65535),
    ]
    for payload in hostile:
        begin = time.perf_counter()
        for _ in range(20):
            told = _told(payload)
        assert (time.perf_counter() - begin) / 20 < 0.02
        assert len(told) <= MOST_ANSWERS
        assert all(len(text) <= 255 for text in told)


@given(st.binary(max_size=600))
def test_no_bytes_crash(payload: bytes) -> None:
    parse(payload)
    parse(HEAD + payload)
    parse(_answer(count=9) + payload)


@given(st.data())
def test_no_changed_answer_crashes(data: st.DataObject) -> None:
    payload = bytearray(dns_peers.answer(dns_peers.query("www.example")))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    message = parse(bytes(payload))
    assert message is None or message.name.isprintable()
