"""Messages out of TCP segments that are cut, doubled, lost and forged."""

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from shieldwall_agent.sensors.dns_stream import LONGEST_KEPT, MOST_STREAMS, Streams

ONE, TWO = b"one" * 10, b"two" * 20
START = (1 << 32) - 20  # numbers go round in the middle of what is sent


def _framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(message)) + message for message in messages)


def _taken(segments: list[tuple[int, bytes]]) -> list[bytes]:
    streams = Streams()
    found = []
    for offset, payload in segments:
        found += streams.messages("flow", (START + offset) % 2**32, payload, len(payload))
    return found


@given(st.lists(st.integers(1, 90), max_size=12), st.booleans())
def test_segments_may_be_cut_anywhere_and_sent_again(cuts: list[int], again: bool) -> None:
    sent = _framed(ONE, TWO)
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    segments = [(begin, sent[begin:end]) for begin, end in itertools.pairwise(places)]
    if again:
        segments = [each for segment in segments for each in (segment, segment)]
    assert _taken(segments) == [ONE, TWO]


def test_a_segment_that_overlaps_adds_only_what_is_new() -> None:
    sent = _framed(ONE, TWO)
    assert _taken([(0, sent[:40]), (10, sent[10:])]) == [ONE, TWO]


def test_goes_on_after_a_hole_in_a_message_and_tells_its_beginning() -> None:
    sent = _framed(ONE, TWO, ONE)
    hole = slice(len(_framed(ONE)) + 10, len(_framed(ONE)) + 30)
    assert _taken([(0, sent[: hole.start]), (hole.stop, sent[hole.stop :])]) == [ONE, TWO[:8], ONE]


def test_begins_anew_after_a_hole_of_unknown_contents() -> None:
    assert _taken([(0, _framed(ONE)), (500, _framed(TWO))]) == [ONE, TWO]
    assert _taken([(0, b"\0\1x"), (3, _framed(TWO))]) == [TWO]


def test_begins_anew_where_the_ends_connect_again() -> None:
    assert _taken([(1 << 30, _framed(ONE)), (0, _framed(TWO))]) == [ONE, TWO]


def test_takes_a_payload_of_which_the_end_is_missing() -> None:
    streams = Streams()
    sent = _framed(bytes(3000))
    assert streams.messages("flow", 0, sent[:1232], len(sent)) == [bytes(1230)]
    assert streams.messages("flow", len(sent), _framed(ONE), len(_framed(ONE))) == [ONE]


def test_keeps_the_beginning_of_a_long_message() -> None:
    sent = _framed(bytes(60_000), ONE)
    segments = [(place, sent[place : place + 1400]) for place in range(0, len(sent), 1400)]
    assert _taken(segments) == [bytes(LONGEST_KEPT), ONE]


def test_forgets_the_stream_that_was_silent_longest() -> None:
    streams = Streams()
    sent = _framed(ONE)
    for flow in range(MOST_STREAMS + 1):
        assert streams.messages(flow, 0, sent[:9], 9) == []
    assert streams.messages(1, 9, sent[9:], len(sent) - 9) == [ONE]
    assert streams.messages(0, 9, sent[9:], len(sent) - 9) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=80), st.integers(0, 3000)),
        min_size=1,
        max_size=30,
    )
)
def test_nothing_crashes_or_grows(segments: list[tuple[int, bytes, int]]) -> None:
    streams = Streams()
    for sequence, payload, missing in segments:
        for message in streams.messages("flow", sequence, payload, len(payload) + missing):
            assert len(message) <= LONGEST_KEPT
    (stream,) = streams._streams.values()
    assert len(stream._buffer) <= LONGEST_KEPT + 82
