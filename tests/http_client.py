"""HTTP as a test needs it: one request, everything that came back, and when."""

import http.client
import socket
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Got:
    """One answer. Header names are in lower case; a header sent twice is joined by `, `."""

    status: int
    headers: dict[str, str]
    body: bytes

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
) -> Got:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        found: dict[str, str] = {}
        for name, value in answer.getheaders():
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
        return Got(answer.status, found, answer.read())
    finally:
        connection.close()


def raw(port: int, request: bytes, timeout_s: float = 10.0) -> bytes:
    """Send exactly these bytes and read until the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(request)
        read = b""
        while part := connection.recv(65536):
            read += part
        return read


@dataclass(frozen=True, slots=True)
class Reads:
    """A streamed answer as it arrived: seconds since the request, and the bytes of each read."""

    parts: tuple[tuple[float, bytes], ...]

    @property
    def text(self) -> bytes:
        """All of it."""
        return b"".join(part for _, part in self.parts)

    def with_token(self) -> list[float]:
        """When each read that carries part of a token came."""
        return [at for at, part in self.parts if b"data:" in part]


def read_stream(port: int, path: str, headers: dict[str, str] | None = None) -> Reads:
    """POST a prompt and read the answer as its bytes come."""
    lines = {"Host": "kome", "Content-Length": "2", "Connection": "close", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n{{}}".encode())
        began = time.monotonic()
        parts = []
        while part := connection.recv(65536):
            parts.append((time.monotonic() - began, part))
        return Reads(tuple(parts))
