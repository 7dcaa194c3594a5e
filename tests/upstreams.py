"""A scripted upstream on 127.0.0.1: says exactly what a test wants, and records what it was asked.

It can be stopped and started again on the same port. Answers are raw bytes, so a test can break the
protocol too; None drops the connection after the request was read.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

Answer = bytes | Iterable[bytes] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Counts connections from 1."""


Script = Callable[[Asked], Answer]


def answer(
    body: bytes | str = b"", status: str = "200 OK", *headers: str, type_: str = "text/plain"
) -> bytes:
    """One complete answer."""
    raw = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", f"Content-Type: {type_}", f"Content-Length: {len(raw)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + raw


def stream(events: int, every_s: float = 0.02) -> Iterator[bytes]:
    """A token stream in chunked coding, one event per chunk."""
    yield (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for number in range(events):
        time.sleep(every_s)
        event = b'data: {"choices": [{"delta": {"content": "%d "}}]}\n\n' % number
        yield b"%x\r\n%s\r\n" % (len(event), event)
    yield b"0\r\n\r\n"


@dataclass(slots=True)
class Upstream:
    """A server that follows `script`."""

    script: Script
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    _listener: socket.socket | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Upstream":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the port of before if there was one."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
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
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def paths(self) -> list[str]:
        """The targets asked for, in order."""
        return [asked.target for asked in self.asked]

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
            while (asked := _read_request(reader, number)) is not None:
                self.asked.append(asked)
                said = self.script(asked)
                if said is None:
                    break
                for part in (said,) if isinstance(said, bytes) else said:
                    connection.sendall(part)
                if asked.headers.get("connection") == "close":
                    break
        self._open.discard(connection)


def _read_request(reader: BinaryIO, number: int) -> Asked | None:
    line = reader.readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while raw := reader.readline().decode("latin-1").strip():
        name, _, value = raw.partition(":")
        headers[name.lower()] = value.strip()
    body = b""
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    elif length := int(headers.get("content-length", "0")):
        body = reader.read(length)
    return Asked(line[0], line[1], headers, body, number)
