"""HTTP/1.1 as the lab's services speak it: a small server and a small client.

A streamed body is written chunk by chunk as it is made, and never gathered: the stream probe
measures these very writes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from kome_tui.lab.listener import Listener
from kome_tui.lab.ports import LOOPBACK

KEEP_ALIVE_S = 5.0  # what uvicorn and vLLM do
BODY_LIMIT = 1 << 20

_REASONS = {
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    502: "Bad Gateway",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case, `path` without the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; an iterator as body is sent chunked, each item at once."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


def json_response(value: object, status: int = 200, **headers: str) -> Response:
    """An answer with `value` as JSON; `cache_control="x"` becomes the header Cache-Control."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, json.dumps(value).encode() + b"\n", headers=named)


def http_listener(handler: Handler, server: str) -> Listener:
    """A Listener that answers HTTP by `handler`; `server` goes into the Server header."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                request = await asyncio.wait_for(_read_request(reader), KEEP_ALIVE_S)
            except (TimeoutError, asyncio.IncompleteReadError):
                return
            response = await handler(request)
            await _write_response(writer, request, response, server)
            if request.headers.get("connection", "").lower() == "close":
                return

    return Listener(serve)


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, headers = _parse_head(head)
    method, target, _ = first.split(" ", 2)
    body = b"".join([part async for part in _body(reader, headers, until_eof=False)])
    return Request(method, target.partition("?")[0], headers, body)


def _parse_head(head: str) -> tuple[str, dict[str, str]]:
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(
    reader: asyncio.StreamReader, headers: Mapping[str, str], *, until_eof: bool
) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\n")).partition(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
    elif "content-length" in headers:
        length = int(headers["content-length"])
        if length > BODY_LIMIT:
            raise ValueError(f"a body of {length} bytes is too long")
        yield await reader.readexactly(length)
    elif until_eof:
        while part := await reader.read(65536):
            yield part


async def _write_response(
    writer: asyncio.StreamWriter, request: Request, response: Response, server: str
) -> None:
    streamed = not isinstance(response.body, bytes)
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}",
        f"Server: {server}",
        f"Content-Type: {response.content_type}",
        *(f"{name.title()}: {value}" for name, value in response.headers.items()),
    ]
    if streamed:
        lines.append("Transfer-Encoding: chunked")
    elif response.status != 304:
        lines.append(f"Content-Length: {len(response.body)}")  # type: ignore[arg-type]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    if isinstance(response.body, bytes):
        if request.method != "HEAD" and response.status != 304:
            writer.write(response.body)
        await writer.drain()
        return
    async for part in response.body:
        writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered to the lab's own client."""

    status: int
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]
    """The body as it arrives. Read it to its end, or aclose() it: that closes the connection."""

    async def body(self) -> bytes:
        """The whole body."""
        return b"".join([part async for part in self.parts])


async def ask(port: int, method: str, path: str, body: bytes = b"", timeout_s: float = 5) -> Answer:
    """Send one request to 127.0.0.1 and return its head; each read has `timeout_s`.

    Raises OSError (TimeoutError is one), EOFError or ValueError when there is no good answer.
    """
    reader, writer = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), timeout_s)
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {LOOPBACK}:{port}", "Connection: close"]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout_s)
        first, headers = _parse_head(head.decode("latin-1"))
        status = int(first.split(" ")[1])
    except BaseException:  # closed on cancellation too, then passed on
        writer.close()
        raise
    return Answer(status, headers, _parts(reader, writer, headers, timeout_s))


async def _parts(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    headers: Mapping[str, str],
    timeout_s: float,
) -> AsyncIterator[bytes]:
    parts = _body(reader, headers, until_eof=True)
    try:
        while True:
            try:
                yield await asyncio.wait_for(anext(parts), timeout_s)
            except StopAsyncIteration:
                return
    finally:
        writer.close()
