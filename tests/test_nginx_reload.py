"""A reload of real nginx: what is open goes on, and what the new file says holds."""

import copy
from pathlib import Path
from typing import Any

import pytest

from kome_tui.nginx.render import Release, render_release
from kome_tui.topology.model import Topology
from tests.http_client import Wire, request
from tests.nginx_fixture import RunSite, fresh
from tests.nginx_process import make_folders
from tests.nginx_site import EVERY_ROLE, Site, on_linux
from tests.test_nginx_upgrade import asking, upgrading
from tests.upstreams import Tokens
from tests.waiting import wait_until


def changed(site: Site, node: str, **layout: Any) -> Release:
    """Another release of a node: other limits for all, and `layout` for it."""
    values = copy.deepcopy(site.topology.model_dump(by_alias=True, mode="json"))
    values["limits"]["rate"] += 1
    values["nodes"][node]["layout"] |= layout
    topology = Topology.model_validate(values)
    make_folders(topology.layout_of(node))
    return render_release(topology, node)


def reload(site: Site, node: str, release: Release, *, drained: bool = True) -> None:
    """Reload, and wait until the new workers answer; `drained`: and no old one is left."""
    nginx = site.nodes[node]
    old = nginx.workers()
    nginx.reload(release.conf)
    wait_until(lambda: site.ask("/.kome/release", node).body.decode() == release.id)
    wait_until(lambda: not (drained and old & nginx.workers()))


@on_linux
@pytest.mark.parametrize("node", EVERY_ROLE)
def test_a_stream_and_a_websocket_outlive_a_reload(run_site: RunSite, node: str) -> None:
    tokens = Tokens(6)
    with run_site(*{node, "node-03"}) as edge:
        nginx, old = edge.nodes[node], edge.nodes[node].workers()
        with Wire(edge.port(node)) as stream, Wire(edge.port(node)) as socket:
            edge.okome.script = upgrading
            socket.send(asking("/ws"))
            socket.until(b"hello")
            edge.okome.script = tokens.script
            stream.send(request("POST", "/v1/completions", {"Connection": "close"}, b"{}"))
            for number in range(tokens.count):
                tokens.open()
                stream.until(b'"%d "' % number)
                if number == 2:
                    reload(edge, node, changed(edge, node), drained=False)
            assert stream.rest().endswith(b"0\r\n\r\n")
            socket.send(b"still there")
            socket.until(b"STILL THERE")
            assert old & nginx.workers()  # the old worker serves them, beside the new one
        assert wait_until(lambda: not old & nginx.workers())
        assert "[emerg]" not in nginx.errors()


@on_linux
@pytest.mark.parametrize("node", ["kome", "node-03"])
def test_a_cache_that_moves_is_served_after_a_reload(
    run_site: RunSite, tmp_path: Path, node: str
) -> None:
    path = fresh()
    with run_site(node) as edge:
        assert [edge.ask(path, node).cache for _ in range(2)] == ["MISS", "HIT"]
        elsewhere = tmp_path / "moved"

        reload(edge, node, changed(edge, node, cache=f"{elsewhere}"))

        assert [edge.ask(path, node).cache for _ in range(2)] == ["MISS", "HIT"]
        assert [found for found in elsewhere.rglob("*") if found.is_file()]
        assert "[emerg]" not in edge.nodes[node].errors()


@on_linux
def test_what_the_cache_holds_outlives_a_reload(run_site: RunSite) -> None:
    path = fresh()
    with run_site() as frontend:
        frontend.ask(path)

        reload(frontend, "kome", changed(frontend, "kome"))

        assert frontend.ask(path).cache == "HIT"


@on_linux
@pytest.mark.parametrize("node", EVERY_ROLE)
def test_limits_by_another_key_hold_after_a_reload(run_site: RunSite, node: str) -> None:
    with run_site(node) as edge:
        reload(edge, node, changed(edge, node, modules=[]))

        assert edge.ask("/v1/models", node).status == 200
        assert "[emerg]" not in edge.nodes[node].errors()
