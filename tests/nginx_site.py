"""A fleet of rendered nginx nodes in front of one scripted OKOME, all on 127.0.0.1."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kome_tui.topology.model import Topology
from tests.builders_topology import local_values
from tests.http_client import Got, ask
from tests.nginx_process import Build, Nginx, free_port, node_running
from tests.upstreams import Answer, Asked, Script, Upstream, answer, stream

EVENTS = 20
PAGE = b"<html>OKOME</html>"
ASSET = b"body{}" * 400


def okome_says(asked: Asked) -> Answer:
    """OKOME's part: page, assets, health, models, and a token stream."""
    match asked.target.partition("?")[0]:
        case "/":
            return answer(PAGE, "200 OK", "Cache-Control: no-cache", type_="text/html")
        case "/health":
            return answer("{}", "200 OK", "Cache-Control: max-age=300", type_="application/json")
        case "/v1/chat/completions" | "/api/chat":
            return stream(EVENTS)
        case path if path.startswith(("/assets/", "/ui-schema/", "/version")):
            headers = ("Set-Cookie: a=1", "Cache-Control: private", "Vary: *")
            return answer(ASSET, "200 OK", *headers, type_="text/css")
        case "/v1/models" | "/v1/embeddings":
            cacheable = ("Cache-Control: public, max-age=3600",)
            return answer(f"{len(asked.body)}", "200 OK", *cacheable, type_="application/json")
        case _:
            return answer("not here", "404 Not Found")


@dataclass(frozen=True, slots=True)
class Site:
    """What runs: `nodes` by name."""

    topology: Topology
    okome: Upstream
    nodes: dict[str, Nginx]

    def ask(self, path: str, node: str = "kome", **request: Any) -> Got:
        """One request to a node."""
        return ask(self.nodes[node].port, path, **request)

    def log(self, node: str = "kome") -> Path:
        """The node's access log."""
        return Path(self.topology.layout_of(node).log) / "access.log"


@contextmanager
def site(
    folder: Path,
    build: Build,
    names: Sequence[str] = ("kome",),
    script: Script = okome_says,
    nodes: dict[str, dict[str, Any]] | None = None,
    **over: Any,
) -> Iterator[Site]:
    """Run the nodes called `names`; `nodes` adds values to single ones, `over` to the topology.

    Limits are out of the way unless `over` names some.
    """
    ports = {name: free_port() for name in names}
    over.setdefault("limits", {"rate": 100_000, "burst": 100_000})
    with ExitStack() as stack:
        okome = stack.enter_context(Upstream(script))
        values = local_values(folder, ports, okome.port, build.layout, **over)
        for name, more in (nodes or {}).items():
            values["nodes"][name] |= more
        topology = Topology.model_validate(values)
        running = {name: stack.enter_context(node_running(topology, name, build)) for name in names}
        yield Site(topology, okome, running)
