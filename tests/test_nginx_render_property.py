"""Whatever validates is rendered, keeps its template's tree, and is taken by nginx and our lint.

KOME_EXAMPLES asks for more examples than an ordinary run has:
KOME_EXAMPLES=2000 .venv/bin/pytest tests/test_nginx_render_property.py --timeout 3600
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings

from kome_tui.nginx.context import Context, context_of
from kome_tui.nginx.lint import lint_conf
from kome_tui.nginx.render import render_release, render_text
from kome_tui.topology.model import Timeouts, Topology
from tests.builders_topology import topology_values
from tests.nginx_process import MIME_TYPES, Build, builds, check_conf
from tests.strategies_topology import EXAMPLES, looked_at, read, topologies

# Many examples, on a machine that may be busy with others.
pytestmark = pytest.mark.timeout(900)

ANY_TOPOLOGY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    """A port that this test holds on both loopbacks: nginx -t skips it, and disturbs nobody."""
    with socket.socket() as v4, socket.socket(socket.AF_INET6) as v6:
        v4.bind(("127.0.0.1", 0))
        v6.bind(("::1", v4.getsockname()[1]))
        yield v4.getsockname()[1]


def with_build(topology: Topology, name: str, build: Build) -> Topology:
    """The same topology on a build that may be older, or have fewer modules, than it says."""
    layout = topology.layout_of(name)
    stated = [int(part) for part in layout.nginx_version.split(".")]
    has = [int(part) for part in build.version.split(".")]
    own = {
        "nginx_version": layout.nginx_version if stated <= has else build.version,
        "modules": tuple(module for module in layout.modules if module in build.modules),
    }
    node = topology.nodes[name].model_copy(update={"layout": layout.model_copy(update=own)})
    return topology.model_copy(update={"nodes": {**topology.nodes, name: node}})


def moved(context: Context, folder: Path, port: int) -> Context:
    """The same node below `folder`, listening where this machine can: only paths, port and user."""

    def inside(path: str) -> str:
        (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        return f"{folder}{path}"

    for path in (context.log, context.temp, context.cache.directory):
        if path is not None:
            (folder / path[1:]).mkdir(parents=True, exist_ok=True)
    Path(inside(context.mime_types)).write_text(MIME_TYPES)
    return replace(
        context,
        user=context.user and ("root" if os.geteuid() == 0 else None),
        pid=inside(context.pid),
        log=inside(context.log),
        temp=context.temp and inside(context.temp),
        mime_types=inside(context.mime_types),
        cache=replace(context.cache, directory=inside(context.cache.directory)),
        listen=tuple(_here(address, port) for address in context.listen),
    )


def _here(address: str, port: int) -> str:
    host = address.rpartition(":")[0]
    if host and host != "[::]":
        host = "[::1]" if host[0] == "[" else "127.0.0.1"
    return f"{host}:{port}" if host else str(port)


@ANY_TOPOLOGY
@given(values=topologies())
def test_what_validates_is_rendered_with_the_templates_tree_and_no_finding(
    values: dict[str, Any],
) -> None:
    topology = read(values)
    event(f"{min(len(topology.nodes), 9)} nodes")

    # times are the operator's own choice, and what lint may have to say to them
    as_shipped = topology.model_copy(update={"timeouts": Timeouts()})

    for name in looked_at(topology):
        render_release(topology, name)  # checks the tree: raises where it differs
        assert lint_conf(render_release(as_shipped, name).conf, name) == ()


@ANY_TOPOLOGY
@given(values=topologies())
def test_nginx_takes_what_validates_without_a_warning(
    taken_port: int, values: dict[str, Any]
) -> None:
    topology = read(values)

    for name in looked_at(topology):
        for build in builds():
            with tempfile.TemporaryDirectory(prefix="kome-t-") as folder:
                context = context_of(with_build(topology, name, build), name)
                text = render_text(moved(context, Path(folder), taken_port))
                code, said = check_conf(text, Path(folder), build)
            assert (code, "[warn]" in said) == (0, False), f"{build}, {name}: {said}\n{text}"


@pytest.mark.parametrize("count", [1, 3, 6, 7, 100, 155, 199, 1000])
def test_nginx_takes_the_split_over_any_number_of_peers(
    count: int, taken_port: int, tmp_path: Path
) -> None:
    peers = {
        f"peer-{number}": {
            "role": "cache-stream",
            "address": f"10.9.{number // 250}.{number % 250}",
        }
        for number in range(1, count + 1)
    }
    first = {name: topology_values()["nodes"][name] for name in ("kome", "node-01")}
    topology = Topology.model_validate(topology_values(nodes={**first, **peers}))

    for build in builds():
        context = context_of(with_build(topology, "node-01", build), "node-01")
        text = render_text(moved(context, tmp_path, taken_port))
        code, said = check_conf(text, tmp_path, build)
        assert (code, "[warn]" in said) == (0, False), f"{build}: {said}"
