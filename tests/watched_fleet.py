"""A small fleet on loopback for tests of the session: real HTTP, and an SSH that is made up."""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kome_tui.errors import FleetError, KomeError, SshUnreachable
from kome_tui.fleet.answers import Applied, Decided, LogChunk, NodeFacts, NodeStatus, Staged
from kome_tui.signals.dial import direct
from kome_tui.topology.model import Endpoint, Topology
from tests.builders_evidence import facts

HEALTHY = b'{"status": "healthy", "components": {"redis": "up", "vllm": "up"}}'


class Web:
    """An HTTP server whose answers a test can change: path -> (status, body)."""

    def __init__(self, answers: dict[str, tuple[int, bytes]]) -> None:
        self.answers = answers
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = web.answers.get(self.path, (404, b"no such page"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class FakeStream:
    """Values that a test puts in; close() ends it, an error put in is raised."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.closed = False

    def put(self, item: object) -> None:
        self._items.put(item)

    def __iter__(self) -> "FakeStream":
        return self

    def __next__(self) -> object:
        item = self._items.get()
        if item is None:
            raise StopIteration
        if isinstance(item, KomeError):
            raise item
        return item

    def close(self) -> None:
        self.closed = True
        self._items.put(None)


@dataclass
class FakeNode:
    """One node behind the made-up SSH."""

    name: str
    facts_now: NodeFacts = field(default_factory=facts)
    log: bytes = b""
    in_sync: bool = True
    """Whether a push has nothing to do here."""
    ssh_error: KomeError | None = None
    facts_error: KomeError | None = None
    streams: list[FakeStream] = field(default_factory=list)
    follows: list[tuple[int | None, int]] = field(default_factory=list)
    made_ready: int = 0
    follow_stream: FakeStream | None = None
    facts_stream: FakeStream | None = None
    staging: threading.Event = field(default_factory=threading.Event)
    """Set once a push has come to this node."""
    go_on: threading.Event = field(default_factory=threading.Event)
    """Set by the test to let `stage` answer."""

    def facts(self, interval_s: float) -> FakeStream:
        self._check()
        if self.facts_error is not None:
            raise self.facts_error
        self.facts_stream = self._stream()
        self.facts_stream.put(self.facts_now)
        return self.facts_stream

    def follow(self, inode: int | None, offset: int) -> FakeStream:
        self._check()
        self.follows.append((inode, offset))
        self.follow_stream = self._stream()
        return self.follow_stream

    def read_log(self, tail_bytes: int) -> bytes:
        self._check()
        return self.log[-tail_bytes:]

    def stage(self, release_id: str, conf: bytes) -> Staged:
        self.staging.set()
        self.go_on.wait(10)
        return Staged(live=release_id, drift=False, unchanged=self.in_sync, trial=None)

    def hang_up(self) -> None:
        pass

    def make_ready(self) -> None:
        self.made_ready += 1

    def status(self) -> NodeStatus:
        self._check()
        raise FleetError(self.name, "not in this test")

    def live_conf(self) -> bytes:
        raise FleetError(self.name, "not in this test")

    def apply(self, release_id: str, token: str, trial_s: float) -> Applied:
        raise FleetError(self.name, "not in this test")

    def rollback(self, to: str | None, token: str, trial_s: float) -> Applied:
        raise FleetError(self.name, "not in this test")

    def confirm(self, token: str) -> Decided:
        raise FleetError(self.name, "not in this test")

    def cancel(self, token: str) -> Decided:
        raise FleetError(self.name, "not in this test")

    def lose(self, error: KomeError) -> None:
        """End the connection: what runs fails, and so does what comes."""
        self.ssh_error = error
        self.go_on.set()
        for stream in self.streams:
            stream.put(error)

    def logged(self, chunk: LogChunk) -> None:
        """Have the followed log bring something."""
        assert self.follow_stream is not None
        self.follow_stream.put(chunk)

    def _stream(self) -> FakeStream:
        stream = FakeStream()
        self.streams.append(stream)
        return stream

    def _check(self) -> None:
        if self.ssh_error is not None:
            raise self.ssh_error


class FakeFleet:
    """All nodes; open_tcp dials from this machine unless the node's way is cut."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.nodes = {name: FakeNode(name) for name in names}
        self.cut: set[int] = set()
        """Ports that no node reaches."""
        self.closed = 0
        self.hangs: set[str] = set()
        """Nodes whose login never ends, until the fleet is closed."""
        self._released = threading.Event()

    def node(self, name: str) -> FakeNode:
        return self.nodes[name]

    def connect(self, name: str) -> None:
        if name in self.hangs:
            self._released.wait(30)
            raise SshUnreachable(name, "the fleet's connections were closed")
        self.nodes[name]._check()

    def open_tcp(self, name: str, endpoint: Endpoint, timeout_s: float) -> socket.socket:
        self.connect(name)
        if endpoint.port in self.cut:
            raise ConnectionRefusedError(111, "Connection refused")
        connection = direct(endpoint, timeout_s)
        assert isinstance(connection, socket.socket)
        return connection

    def close(self) -> None:
        self.closed += 1
        self._released.set()
        for node in self.nodes.values():
            node.lose(SshUnreachable(node.name, "the fleet's connections were closed"))


@dataclass
class Site:
    """A fleet with its servers."""

    topology: Topology
    fleet: FakeFleet
    okome: Web
    edge: dict[str, Web]


def closed_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert isinstance(port, int)
    return port


@contextmanager
def a_site(names: tuple[str, ...] = ("kome", "node-01")) -> Iterator[Site]:
    """A frontend and edge nodes that serve, OKOME that is well, and nothing else."""
    page = (200, b"<html>OKOME</html>")
    okome = Web({"/health": (200, HEALTHY), "/": page, "/v1/models": (200, b"{}")})
    edge = {
        name: Web({"/.kome/health": (200, b"ok"), "/": page, "/v1/models": (200, b"{}")})
        for name in names
    }
    nothing = {"address": "127.0.0.1", "port": closed_port()}
    topology = Topology.model_validate(
        {
            "lan": ["127.0.0.0/8"],
            "upstreams": {
                "okome": {"address": "127.0.0.1", "port": okome.port},
                **dict.fromkeys(("vllm", "ollama", "tf-rest", "tf-grpc", "redis"), nothing),
            },
            "nodes": {
                name: {
                    "role": "frontend" if name == names[0] else "ingress",
                    "address": "127.0.0.1",
                    "port": edge[name].port,
                }
                for name in names
            },
        }
    )
    try:
        yield Site(topology, FakeFleet(names), okome, edge)
    finally:
        for web in (okome, *edge.values()):
            web.close()
