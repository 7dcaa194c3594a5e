"""A fleet of rendered nginx nodes in front of one scripted OKOME, all on 127.0.0.1.

So 127.0.0.1 is the address of the fleet's own nodes; 127.0.0.2 and up are clients outside it.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kome_tui.topology.model import Topology
from tests.builders_topology import local_values
from tests.http_client import Got, ask
from tests.nginx_process import Build, Nginx, node_running
from tests.ports import free_port
from tests.upstreams import Answer, Asked, Script, Upstream, answer
from tests.waiting import wait_until

PAGE = b"<html>OKOME</html>"
ASSET = b"body{}" * 400
EVERY_ROLE = ("kome", "node-01", "node-03", "node-07", "node-09")
CACHING = ("kome", "node-03")
"""The nodes that keep files themselves."""
HOSTILE = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "666",
    "X-Host": "evil.example",
    "Forwarded": "host=evil.example",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
    "X-HTTP-Method-Override": "EVIL",
    "Origin": "http://evil.example",
    "Referer": "http://evil.example",
    "Accept": "text/evil",
    "Accept-Language": "evil",
    "User-Agent": "evil",
}
"""Of a request that tries to shape the answer which others get."""
OURS = ["host", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "x-request-id"]
"""All that OKOME sees of one whose answer is kept."""
VALID_UNTIL = 8
"""Where a kept copy says when it runs out: ngx_http_file_cache_header_t begins with the version."""

on_linux = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs Linux: /proc, and all of 127.0.0.0/8"
)


def okome_says(asked: Asked) -> Answer:
    """OKOME's part: page, assets, health and models."""
    match asked.target.partition("?")[0]:
        case "/":
            return answer(PAGE, "200 OK", "Cache-Control: no-cache", type_="text/html")
        case "/health":
            return answer("{}", "200 OK", "Cache-Control: max-age=300", type_="application/json")
        case path if path.startswith(("/assets/", "/ui-schema/", "/version")):
            headers = ("Set-Cookie: a=1", "Cache-Control: no-cache", "Vary: *")
            return answer(ASSET, "200 OK", *headers, type_="text/css")
        case "/v1/models" | "/v1/embeddings":
            cacheable = ("Cache-Control: public, max-age=3600",)
            return answer(f"{asked.length}", "200 OK", *cacheable, type_="application/json")
        case _:
            return answer("not here", "404 Not Found")


@dataclass(frozen=True, slots=True)
class Site:
    """What runs: `nodes` by name."""

    topology: Topology
    okome: Upstream
    nodes: dict[str, Nginx]
    script: Script

    def ask(self, path: str, node: str = "kome", **request: Any) -> Got:
        """One request to a node."""
        return ask(self.nodes[node].port, path, **request)

    def stale(self, path: str, node: str = "kome") -> Got:
        """The answer once it is a stale copy; what is kept for a second is HIT until then."""

        def stale() -> Got | None:
            got = self.ask(path, node)
            return got if got.cache == "STALE" else None

        found = wait_until(stale)
        assert found is not None
        return found

    def age(self, path: str, node: str = "kome") -> None:
        """Let the copy that the node keeps of `path` run out: its time stands in its file."""
        folder = Path(self.topology.layout_of(node).cache)
        name = hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()
        file = wait_until(lambda: next(folder.rglob(name), None))
        assert file is not None
        with file.open("r+b") as copy:
            copy.seek(VALID_UNTIL)
            copy.write(struct.pack("@q", 1))

    def port(self, node: str = "kome") -> int:
        """Where a node answers."""
        return self.nodes[node].port

    def log(self, node: str = "kome") -> Path:
        """The node's access log."""
        return Path(self.topology.layout_of(node).log) / "access.log"

    def reset(self) -> None:
        """OKOME runs, follows its first script, and has been asked nothing."""
        self.okome.script = self.script
        self.okome.start()
        self.okome.asked.clear()


@contextmanager
def site(
    folder: Path,
    build: Build,
    names: Sequence[str] = ("kome",),
    script: Script = okome_says,
    nodes: dict[str, dict[str, Any]] | None = None,
    elsewhere: dict[str, int] | None = None,
    okome_up: bool = True,
    **over: Any,
) -> Iterator[Site]:
    """Run the nodes called `names`; `nodes` adds values to single ones, `over` to the topology.

    `elsewhere` are nodes of the topology, with the port where something else plays their part.
    Limits are out of the way unless `over` names some.
    """
    ports = {name: free_port() for name in names} | (elsewhere or {})
    over.setdefault("limits", {"rate": 100_000, "burst": 100_000})
    with ExitStack() as stack:
        okome = stack.enter_context(Upstream(script))
        values = local_values(folder, ports, okome.port, build.layout, **over)
        for name, more in (nodes or {}).items():
            values["nodes"][name] |= more
        topology = Topology.model_validate(values)
        if not okome_up:
            okome.stop()
        running = {name: stack.enter_context(node_running(topology, name, build)) for name in names}
        yield Site(topology, okome, running, script)
