"""HTTP as a test needs it: one request and all that came back, or a connection step by step."""

import http.client
import socket
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Got:
    """One answer. Header names are in lower case; a header sent twice is joined by `, `."""

    status: int
    headers: dict[str, str]
    body: bytes
    names: tuple[str, ...] = ()
    """Of the headers, as often as each was sent."""

    @property
    def cache(self) -> str:
        """X-Cache."""
        return self.headers["x-cache"]


def ask(
    port: int,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 20.0,
    source: str = "127.0.0.1",
) -> Got:
    """Send one request on a connection of its own, from the address `source`."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=timeout_s, source_address=(source, 0)
    )
    try:
        connection.request(method, path, body=body, headers=headers or {})
        return got(connection.getresponse())
    finally:
        connection.close()


def got(answer: http.client.HTTPResponse) -> Got:
    """The whole answer."""
    found: dict[str, str] = {}
    for name, value in answer.getheaders():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    names = tuple(name.lower() for name, _ in answer.getheaders())
    return Got(answer.status, found, answer.read(), names)


def raw(port: int, request: bytes, timeout_s: float = 10.0) -> bytes:
    """Send exactly these bytes and read until the end of the connection."""
    with Wire(port, timeout_s) as wire:
        wire.send(request)
        return wire.rest()


def request(
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """The bytes of one request."""
    lines = {"Host": "kome", **(headers or {})}
    if body:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode() + body


@dataclass(slots=True)
class Wire:
    """A connection to 127.0.0.1; what was read, read by read, is in `reads`."""

    port: int
    timeout_s: float = 15.0
    reads: list[bytes] = field(default_factory=list)
    _socket: socket.socket | None = None

    def __enter__(self) -> "Wire":
        self._socket = socket.create_connection(("127.0.0.1", self.port), self.timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def text(self) -> bytes:
        """All that was read."""
        return b"".join(self.reads)

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()

    def send(self, sent: bytes) -> None:
        """Send all of it."""
        assert self._socket is not None
        self._socket.sendall(sent)

    def until(self, word: bytes) -> bytes:
        """Read until `word` has come; TimeoutError when it does not. Returns all read so far."""
        while word not in self.text:
            assert self._read(), f"ended before {word!r}: {self.text!r}"
        return self.text

    def rest(self) -> bytes:
        """Read until the other side closes. Returns all read so far."""
        while self._read():
            pass
        return self.text

    def _read(self) -> bytes:
        assert self._socket is not None
        part = self._socket.recv(65536)
        if part:
            self.reads.append(part)
        return part
