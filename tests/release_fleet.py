"""A fleet of scripted nodes for tests of the push engine: each serves its marker over real HTTP."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kome_tui.errors import KomeError, SshUnreachable
from kome_tui.fleet.answers import Applied, Decided, NodeStatus, Staged
from kome_tui.signals.dial import Socket
from kome_tui.topology.model import Endpoint, Topology
from tests.builders_topology import topology_values

FIRST = "aaaaaaaaaaaa"


@dataclass
class ScriptedNode:
    """One node: what it serves, and what it does wrong."""

    name: str
    port: int = 0
    live: str | None = FIRST
    previous: str | None = None
    drift: bool = False
    staged: str | None = None
    """The release staged last."""
    trial: tuple[str, str] | None = None
    """Token of the trial, and the release live before it."""
    answers: str | None = None
    """What the marker says instead of the live release."""
    fail: dict[str, KomeError] = field(default_factory=dict)
    """Error raised by a verb."""
    fail_once: dict[str, KomeError] = field(default_factory=dict)
    taken_back: str | None = None
    """Reason with which `apply` goes back at once."""
    degraded: bool = False
    """It goes back on the disk only."""
    own_id: str | None = None
    """Id under which it keeps what was changed by hand, and goes back to."""
    shows: str | None = None
    """What it says that its marker answers, where that is not the release's own id."""
    scripts: list[str] = field(default_factory=list)
    """Digests that its script tells of itself, one a stage()."""
    calls: list[str] = field(default_factory=list)
    before_apply: Callable[[], None] = lambda: None

    def _called(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self.fail_once:
            raise self.fail_once.pop(verb)
        if verb in self.fail:
            raise self.fail[verb]

    def stage(self, release_id: str, conf: bytes) -> Staged:
        self._called("stage")
        self.staged = release_id
        same = self.live == release_id and not self.drift
        script = self.scripts.pop(0) if self.scripts else None
        return Staged(
            self.live, self.drift, same, None, script_digest=script, ahead=bool(self.scripts)
        )

    def apply(self, release_id: str, token: str, trial_s: float) -> Applied:
        self.before_apply()
        self._called("apply")
        return self._switch(release_id, token)

    def rollback(self, to: str | None, token: str, trial_s: float) -> Applied:
        self._called("rollback")
        return self._switch(to or self.previous or "", token)

    def _switch(self, release_id: str, token: str) -> Applied:
        if self.taken_back is not None:
            return Applied(False, self.live, self.taken_back, self.degraded)
        self.trial = (token, self.own_id or self.live or "original")
        self.live = release_id
        return Applied(True, self.live, None, shows=self.shows)

    def confirm(self, token: str) -> Decided:
        self._called("confirm")
        assert self.trial is not None
        assert self.trial[0] == token
        self.previous = self.trial[1]
        return Decided("confirmed", self.live, False, None)

    def cancel(self, token: str) -> Decided:
        self._called("cancel")
        if self.trial is None:
            return Decided(None, self.live, False, None)
        self.live = self.trial[1]
        return Decided("rolled-back", self.live, False, None)

    def status(self) -> NodeStatus:
        self._called("status")
        kept = tuple(name for name in (self.live, self.previous, "original") if name)
        return NodeStatus(
            live=self.live,
            running=self.live,
            previous=self.previous,
            nginx="serving",
            drift=self.drift,
            trial=None,
            last=None,
            nginx_version="1.22.1",
            script_version=1,
            kept=kept,
            disk_free_bytes=None,
            inodes_free=None,
        )

    def hang_up(self) -> None:
        pass

    def live_conf(self) -> bytes:
        self._called("live_conf")
        return b"# by hand\n"


class ScriptedFleet:
    """Eleven nodes by name."""

    def __init__(self) -> None:
        names = topology_values()["nodes"]
        self.nodes = {name: ScriptedNode(name) for name in names}
        self.topology = Topology.model_validate(topology_values())

    def node(self, name: str) -> ScriptedNode:
        return self.nodes[name]

    def open_tcp(self, name: str, endpoint: Endpoint, timeout_s: float) -> Socket:
        raise SshUnreachable(name, "no forwarding here")


@contextmanager
def scripted_fleet() -> Iterator[ScriptedFleet]:
    """A fleet whose nodes answer /.kome/release on ports of their own."""
    fleet = ScriptedFleet()
    servers: list[ThreadingHTTPServer] = []
    values = topology_values()
    try:
        for name, node in fleet.nodes.items():
            server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(node))
            server.daemon_threads = True
            servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            node.port = server.server_address[1]
            values["nodes"][name] |= {"address": "127.0.0.1", "port": node.port}
        fleet.topology = Topology.model_validate(values)
        yield fleet
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _handler(node: ScriptedNode) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (node.answers or node.live or "").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
