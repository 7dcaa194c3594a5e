"""One path of a probe: warm its connection up, stream, note when each token arrived.

Imported by the probe's child. Whatever goes wrong is the run's error; what arrived before it is
kept. Only chunks with text are tokens, and a stream that ends without [DONE] is broken.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypedDict
from zlib import MAX_WBITS, decompressobj

import httpcore

from kome_tui.signals.completions import first_model, has_token, json_object, said, tokens_used
from kome_tui.signals.sse import EventStream
from kome_tui.signals.stamped import ProbeError, StampedConnection, explained
from kome_tui.text import CELL_LIMIT, clean

BODY_LIMIT = 4 * 1024 * 1024
"""The most one stream may bring, decompressed: some thousand tokens."""
ANSWER_LIMIT = 1024 * 1024
"""The most that is read of an answer that is no stream."""
PIECE_LIMIT = 64 * 1024
OVERRUN = 2
"""A server that sends this many times the tokens asked for is cut off."""
DRAIN_S = 0.25
"""How long a finished stream may take to end, to keep its connection for the next."""
PROMPT = "Count from 1 to 500, one number per line, digits only."


class Target(TypedDict):
    """One path, as the parent sends it."""

    address: str
    port: int
    prefix: str
    host: str


class Order(TypedDict):
    """What the child is asked to do. `deadline`: on the machine's monotonic clock, seconds."""

    targets: list[Target]
    tokens: int
    deadline: float
    gzip: bool


class Run(TypedDict):
    """One stream, as it arrived; times from the moment its request was sent."""

    arrivals_ns: list[int]
    tokens: int | None
    error: str | None


class Runs(TypedDict):
    """One path: without, and with, gzip offered (None: there was no time, or no reason)."""

    plain: Run
    gzip: Run | None


def failed(error: str) -> Run:
    """A run that brought nothing."""
    return {"arrivals_ns": [], "tokens": None, "error": error}


class Path:
    """One path: its connection, and the streams asked for over it."""

    def __init__(self, target: Target, order: Order) -> None:
        self._prefix = target["prefix"]
        self._tokens = order["tokens"]
        self._gzip = order["gzip"]
        self._deadline = order["deadline"]
        self._connection = StampedConnection(
            target["address"], target["port"], target["host"], self._deadline
        )
        self.runs: Runs = {"plain": failed("did not end in time"), "gzip": None}

    def probe(self, when_ready: Callable[[], None]) -> None:
        """Warm up, call `when_ready`, measure a plain stream, then one with gzip offered.

        What was measured is in `runs` as soon as it was.
        """
        try:
            model = self._first_model()
        except ProbeError as error:
            self.runs = {"plain": failed(str(error)), "gzip": None}
            return
        when_ready()
        began = time.monotonic()
        plain = self._measured(model, "identity")
        self.runs = {"plain": plain, "gzip": None}
        took_s = time.monotonic() - began
        if self._gzip and not plain["error"] and time.monotonic() + took_s < self._deadline:
            self.runs = {"plain": plain, "gzip": self._measured(model, "gzip")}
        self._connection.close()

    def _first_model(self) -> str:
        what = f"{self._prefix}/v1/models"
        with explained(lambda: f"GET {what}"):
            response = self._connection.ask("GET", what, [])
            body = _body(response)
        if response.status != 200:
            raise ProbeError(f"GET {what} answered {response.status}{said(body)}")
        model = first_model(body)
        if model is None:
            raise ProbeError(f"GET {what} names no model")
        return model

    def _measured(self, model: str, encoding: str) -> Run:
        run = Run(arrivals_ns=[], tokens=None, error=None)
        try:
            with explained(lambda: _broke(run)):
                self._follow(self._post(model, encoding), run)
        except ProbeError as error:
            run["error"] = str(error)
            self._connection.close()
        return run

    def _post(self, model: str, encoding: str) -> httpcore.Response:
        order = {
            "model": model,
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": self._tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = [
            (b"Content-Type", b"application/json"),
            (b"Accept", b"text/event-stream"),
            (b"Accept-Encoding", encoding.encode()),
        ]
        what = f"{self._prefix}/v1/chat/completions"
        response = self._connection.ask("POST", what, headers, json.dumps(order).encode())
        media = clean(_header(response, b"content-type"), CELL_LIMIT)
        if response.status != 200:
            raise ProbeError(f"answered {response.status}{said(_body(response))}")
        if "text/event-stream" not in media.lower():
            raise ProbeError(f"answered {media or 'something'}, not an event stream")
        return response

    def _follow(self, response: httpcore.Response, run: Run) -> None:
        """Note every token's arrival until [DONE]; anything else that ends it is an error."""
        sent_ns = self._connection.sent_ns
        arrivals = run["arrivals_ns"]
        events = self._events(response)
        for data in events:
            if data.strip() == b"[DONE]":
                self._drain(events, response)
                if not arrivals:
                    raise ProbeError("ended without a token")
                return
            chunk = json_object(data)
            if chunk.get("error"):
                raise ProbeError(f"error in the stream{said(data)}")
            if has_token(chunk):
                arrivals.append(self._connection.received_ns - sent_ns)
            run["tokens"] = tokens_used(chunk) or run["tokens"]
            if len(arrivals) >= OVERRUN * self._tokens:
                self._connection.close()  # it does not know max_tokens; we have seen enough
                return
        raise ProbeError(f"{_broke(run)}: it ended without [DONE]")

    def _events(self, response: httpcore.Response) -> Iterator[bytes]:
        coding = _header(response, b"content-encoding").lower()
        if coding not in (b"", b"identity", b"gzip"):
            raise ProbeError(f"answered in {clean(coding, 60)}, which nobody asked for")
        body = response.iter_stream()
        events = EventStream()
        total = 0
        for decoded in _gunzip(body) if coding == b"gzip" else body:
            if time.monotonic() > self._deadline:
                raise httpcore.ReadTimeout  # much to parse, and no read that would notice
            total += len(decoded)
            if total > BODY_LIMIT:
                raise ProbeError("the stream is larger than any answer")
            yield from events.feed(decoded)

    def _drain(self, events: Iterator[bytes], response: httpcore.Response) -> None:
        """Read what follows [DONE], so that the connection can be used again."""
        self._connection.hurry(DRAIN_S)
        try:
            with explained(lambda: "after the end"):
                for _ in events:
                    pass
                response.close()
        except ProbeError:
            self._connection.close()


def _broke(run: Run) -> str:
    return f"stream broke after {len(run['arrivals_ns'])} tokens"


def _gunzip(body: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress read by read, in pieces that a bomb cannot make large."""
    unpack = decompressobj(MAX_WBITS | 16)
    for part in body:
        rest = part
        while rest and not unpack.eof:
            yield unpack.decompress(rest, PIECE_LIMIT)
            rest = unpack.unconsumed_tail


def _header(response: httpcore.Response, name: bytes) -> bytes:
    return next((value for key, value in response.headers if key.lower() == name), b"")


def _body(response: httpcore.Response) -> bytes:
    body = bytearray()
    try:
        for part in response.iter_stream():
            body += part
            if len(body) > ANSWER_LIMIT:
                break
    finally:
        response.close()  # without it the connection is never free again
    return bytes(body)
