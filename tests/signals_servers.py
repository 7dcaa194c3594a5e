"""Servers on 127.0.0.1 that do exactly what a test tells them to. Each runs in own threads."""

import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kome_tui.topology.model import Endpoint

Timed = tuple[float, bytes]
"""Milliseconds after the head, and what to write then."""


def token(text: str = "x", **more: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}}], **more})


def event(chunk: object, end: bytes = b"\n") -> bytes:
    return b"data: " + json.dumps(chunk).encode() + end + end


ROLE = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
FINISH = event({"choices": [{"delta": {}, "finish_reason": "length"}]})
DONE = b"data: [DONE]\n\n"


def steady(tokens: int = 48, every_ms: float = 20.0) -> list[Timed]:
    timed = [(0.0, ROLE)]
    timed += [(every_ms * (at + 1), token(f"{at} ")) for at in range(tokens)]
    return [*timed, (timed[-1][0], FINISH + DONE)]


def clumped(tokens: int = 48, every_ms: float = 20.0, size: int = 18) -> list[Timed]:
    timed = [(0.0, ROLE)]
    for first in range(0, tokens, size):
        count = min(size, tokens - first)
        timed.append((every_ms * (first + count), token() * count))
    return [*timed, (timed[-1][0], FINISH + DONE)]


def usage(tokens: int) -> bytes:
    return event({"choices": [], "usage": {"completion_tokens": tokens}})


class StreamServer(ThreadingHTTPServer):
    """An OpenAI-like server whose streams follow a script."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        plain: Sequence[Timed],
        cut: bool = False,
        status: int = 200,
        body: bytes = b"",
        content_type: str = "text/event-stream",
        compress: Callable[[Sequence[Timed]], Sequence[Timed]] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Streaming)
        self.plain = plain
        self.cut = cut
        self.status = status
        self.body = body
        self.content_type = content_type
        self.compress = compress
        self.orders: list[dict[str, object]] = []
        self.paths: list[str] = []
        self.connections: set[int] = set()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(address="127.0.0.1", port=self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


class _Streaming(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StreamServer

    def log_message(self, *arguments: object) -> None: ...

    def do_GET(self) -> None:
        self._note()
        body = json.dumps({"object": "list", "data": [{"id": "practice-model"}]}).encode()
        self._whole(200, body, "application/json")

    def do_POST(self) -> None:
        self._note()
        length = int(self.headers["Content-Length"])
        self.server.orders.append(json.loads(self.rfile.read(length)))
        if self.server.status != 200:
            self._whole(self.server.status, self.server.body, "application/json")
            return
        zipped = "gzip" in self.headers.get("Accept-Encoding", "") and self.server.compress
        self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        chunked = self.request_version == "HTTP/1.1"
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        script = self.server.plain
        if zipped:
            script = zipped(script)
        began = time.monotonic()
        for at_ms, data in script:
            threading.Event().wait(max(0.0, began + at_ms / 1000 - time.monotonic()))
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        if self.server.cut or not chunked:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _note(self) -> None:
        self.server.paths.append(self.path)
        self.server.connections.add(self.client_address[1])

    def _whole(self, status: int, body: bytes, media: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def gzip_flushed(script: Sequence[Timed]) -> list[Timed]:
    """What an unbuffered hop that compresses sends: every write flushed."""
    pack = zlib.compressobj(wbits=31)
    timed = [(at, pack.compress(data) + pack.flush(zlib.Z_SYNC_FLUSH)) for at, data in script]
    return [*timed, (timed[-1][0], pack.flush())]


def gzip_whole(script: Sequence[Timed]) -> list[Timed]:
    """What gzip over a buffer sends: everything at the end."""
    pack = zlib.compressobj(wbits=31)
    return [(script[-1][0], pack.compress(b"".join(d for _, d in script)) + pack.flush())]


@contextmanager
def running(server: StreamServer) -> Iterator[StreamServer]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def scripted(talk: Callable[[socket.socket], None]) -> Iterator[Endpoint]:
    """A TCP server that does `talk` with each connection, then closes it."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            if over.is_set():
                connection.close()
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                talk(connection)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = listener.getsockname()
    try:
        yield Endpoint(address="127.0.0.1", port=address[1])
    finally:
        over.set()
        socket.create_connection(address).close()
        thread.join()
        listener.close()


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Read something, answer, close."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    return talk


def silent(connection: socket.socket) -> None:
    """Accept, read, never answer, until the client goes."""
    while connection.recv(65536):
        pass


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def closed_port() -> Endpoint:
    """An endpoint where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Endpoint(address="127.0.0.1", port=listener.getsockname()[1])
