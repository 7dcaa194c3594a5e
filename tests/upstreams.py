"""A scripted upstream on 127.0.0.1: says exactly what a test wants, and records what it was asked.

It can be stopped and started again on the same port, and given another script while it runs.
Answers are raw bytes, so a test can break the protocol too.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

Talk = Callable[[socket.socket], None]
Answer = bytes | Iterable[bytes] | Talk | None
"""Bytes, whole or in parts; or a function that has the connection; None closes it unanswered.

The connection stays open after the answer unless that was by a function, or in HTTP/1.0.
"""

BODY_KEPT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    """Its first BODY_KEPT bytes."""
    length: int
    """Of the whole body."""
    connection: int
    """Counts connections from 1."""
    version: str
    """Such as HTTP/1.1."""


Script = Callable[[Asked], Answer]


def answer(
    body: bytes | str = b"", status: str = "200 OK", *headers: str, type_: str = "text/plain"
) -> bytes:
    """One complete answer."""
    raw = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", f"Content-Type: {type_}", f"Content-Length: {len(raw)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + raw


def reset(connection: socket.socket) -> None:
    """An answer: the connection is reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Gate:
    """Holds an answer back until the test lets it through, once or `times`."""

    def __init__(self, patience_s: float = 20.0) -> None:
        self._patience_s = patience_s
        self._passes = threading.Semaphore(0)
        self.waiting = 0
        """How many have come to the gate so far."""

    def open(self, times: int = 1) -> None:
        """Let that many through."""
        self._passes.release(times)

    def wait(self) -> None:
        """Wait to be let through; OSError, which ends the connection, when nobody does."""
        self.waiting += 1
        if not self._passes.acquire(timeout=self._patience_s):
            raise OSError("the gate stayed closed")


class Tokens(Gate):
    """A token stream; the test lets each token out when it has read the one before it.

    So a hop that holds tokens back for more to come stops the stream, at any speed of the machine.
    It is chunked unless one side speaks HTTP/1.0, as with the servers that people run.
    """

    def __init__(
        self, count: int, *headers: str, version: str = "1.1", patience_s: float = 20.0
    ) -> None:
        super().__init__(patience_s)
        self.count = count
        self._version = version
        self._headers = headers

    def script(self, asked: Asked) -> Iterator[bytes]:
        """What the upstream does."""
        chunked = asked.version == f"HTTP/{self._version}" == "HTTP/1.1"
        how = "Transfer-Encoding: chunked" if chunked else "Connection: close"
        version = "1.1" if chunked else "1.0"
        head = (f"HTTP/{version} 200 OK", "Content-Type: text/event-stream", how, *self._headers)
        yield ("\r\n".join(head) + "\r\n\r\n").encode()
        for number in range(self.count):
            self.wait()
            event = token(number)
            yield b"%x\r\n%s\r\n" % (len(event), event) if chunked else event
        if chunked:
            yield b"0\r\n\r\n"


def token(number: int) -> bytes:
    """The event that carries one token."""
    return b'data: {"choices": [{"delta": {"content": "%d "}}]}\n\n' % number


@dataclass(slots=True)
class Upstream:
    """A server that follows `script`."""

    script: Script
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    body_bytes: int = 0
    """Of all bodies, counted as they come."""
    _listener: socket.socket | None = None
    _held: socket.socket | None = None
    """Keeps the port while stopped: bound, but not listening, so connections are refused."""
    _open: set[socket.socket] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Upstream":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._held is not None:
            self._held.close()

    @property
    def open_connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    def start(self) -> None:
        """Listen, on the port of before if there was one; nothing to do while it runs."""
        if self._listener is not None:
            return
        listener, self._held = self._held or _bound(self.port), None
        listener.listen(512)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        """Refuse connections from now on, and cut the open ones."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self._held = _bound(self.port)
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def paths(self) -> list[str]:
        """The targets asked for, in order."""
        return [asked.target for asked in self.asked]

    def asked_for(self, target: str) -> int:
        """How often."""
        return self.paths().count(target)

    def _spawn(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            self._spawn(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as reader, suppress(OSError, ValueError):
            while (asked := self._read_request(reader, number)) is not None:
                self.asked.append(asked)
                if not _send(connection, self.script(asked)):
                    break
                if asked.headers.get("connection") == "close":
                    break
        self._open.discard(connection)

    def _read_request(self, reader: BinaryIO, number: int) -> Asked | None:
        line = reader.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers: dict[str, str] = {}
        while raw := reader.readline().decode("latin-1").strip():
            name, _, value = raw.partition(":")
            headers[name.lower()] = value.strip()
        kept, length = b"", 0
        for part in _body(reader, headers):
            kept, length = (kept + part)[:BODY_KEPT], length + len(part)
            self.body_bytes += len(part)
        return Asked(line[0], line[1], headers, kept, length, number, line[2])


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _send(connection: socket.socket, said: Answer) -> bool:
    """Send an answer; whether another request may follow on this connection."""
    if said is None:
        return False
    if callable(said):
        said(connection)
        return False
    keep = True
    for part in (said,) if isinstance(said, bytes) else said:
        keep = keep and not part.startswith(b"HTTP/1.0 ")
        connection.sendall(part)
    return keep


def _body(reader: BinaryIO, headers: dict[str, str]) -> Iterator[bytes]:
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int(reader.readline(), 16):
            yield from _parts(reader, size)
            reader.readline()
        reader.readline()
    else:
        yield from _parts(reader, int(headers.get("content-length", "0")))


def _parts(reader: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        part = reader.read(min(length, 256 * 1024))
        if not part:
            raise OSError("the body ended early")
        length -= len(part)
        yield part
