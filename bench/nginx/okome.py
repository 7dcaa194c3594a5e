"""A fast scripted OKOME in a process of its own: prints its port, runs until its input is closed.

GET /assets/... is 20 KB of text; GET anything else is small; /v1/... is a stream of `tokens` tokens
`every_ms` apart, each with its number and the moment it was sent (ns, CLOCK_REALTIME, the clock of
the kernel's receive stamps).
"""

import asyncio
import random
import sys
import time
from contextlib import suppress
from selectors import SelectSelector
from urllib.parse import parse_qs, urlsplit

ASSET_BYTES = 20_000
WORDS = 2_000

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: %d\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def asset(seed: int) -> bytes:
    """Text that compresses about as well as a program does."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(WORDS)]
    return " ".join(draw.choices(words, k=ASSET_BYTES)).encode()[:ASSET_BYTES]


class Connection(asyncio.Protocol):
    """One connection, one request after the other."""

    def __init__(self, file: bytes) -> None:
        self._file = HEAD % len(file) + file
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1].decode("latin-1"))

    def _answer(self, target: str) -> None:
        assert self._transport is not None
        if target.startswith("/assets/"):
            self._transport.write(self._file)
        elif target.startswith("/v1/"):
            asked = parse_qs(urlsplit(target).query)
            tokens, every_ms = int(asked["tokens"][0]), float(asked["every_ms"][0])
            self._transport.write(STREAM)
            loop = asyncio.get_running_loop()
            phase_s = random.random() * every_ms / 1000  # else all streams would speak at once
            self._token(0, tokens, loop.time() + phase_s, every_ms / 1000)
        else:
            self._transport.write(HEAD % 2 + b"ok")

    def _token(self, number: int, tokens: int, due: float, every_s: float) -> None:
        if self._transport is None:
            return
        if number == tokens:
            self._transport.write(b"0\r\n\r\n")
            return
        event = b'data: {"n": %d, "at": %d}\n\n' % (number, time.time_ns())
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        loop = asyncio.get_running_loop()
        loop.call_at(due + every_s, self._token, number + 1, tokens, due + every_s, every_s)


async def serve(seed: int) -> None:
    """Listen on a free port of 127.0.0.1 until standard input ends."""
    random.seed(seed)
    file = asset(seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(file), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    """Serve. select() waits to the microsecond; epoll, as Python calls it, to the millisecond."""
    loop = asyncio.SelectorEventLoop(SelectSelector())
    with suppress(KeyboardInterrupt):
        loop.run_until_complete(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
