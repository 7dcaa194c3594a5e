"""The event parser, over whole streams and every way to split them."""

import random

import pytest

from kome_tui.signals.sse import EVENT_LIMIT, EventStream, EventTooLong

STREAM = (
    "\ufeff: a comment\r\n"
    "data: one\n\n"
    "event: x\rid: 3\rdata: two\r\r"
    ": keep-alive\n\n"
    "data: three\r\ndata:four\r\ndata\r\ndata:  five\r\n\r\n"
    "retry: 10\n\n"
    "data:\n\n"
    "database: no\n\n"
    "data: [DONE]\n\n"
    "data: never finished\n"
).encode()
EVENTS = [b"one", b"two", b"three\nfour\n\n five", b"", b"[DONE]"]


def test_events_of_a_whole_stream() -> None:
    assert EventStream().feed(STREAM) == EVENTS


def test_split_at_every_byte() -> None:
    events = EventStream()
    assert [data for byte in STREAM for data in events.feed(bytes([byte]))] == EVENTS


def test_split_once_anywhere() -> None:
    for at in range(len(STREAM) + 1):
        events = EventStream()
        assert events.feed(STREAM[:at]) + events.feed(b"") + events.feed(STREAM[at:]) == EVENTS, at


@pytest.mark.parametrize("seed", range(50))
def test_split_at_random(seed: int) -> None:
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(len(STREAM)), 8))
    events = EventStream()
    pieces = [STREAM[a:b] for a, b in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
    assert [data for piece in pieces for data in events.feed(piece)] == EVENTS


def test_an_event_counts_with_the_read_that_ended_it() -> None:
    events = EventStream()
    assert events.feed(b"data: x\r\n\r") == [b"x"]
    assert events.feed(b"\ndata: y\r\n\r\n") == [b"y"]


@pytest.mark.parametrize("piece", [b"x" * 65536, b"data: " + b"x" * 65536 + b"\n"])
def test_an_endless_event_is_refused(piece: bytes) -> None:
    events = EventStream()
    for _ in range(EVENT_LIMIT // 65536 - 1):
        events.feed(piece)
    with pytest.raises(EventTooLong):
        events.feed(piece * 2)
