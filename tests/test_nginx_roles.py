"""What each role adds, on real nginx: /.kome/, the split over peers, draft server and services."""

from pathlib import Path

import pytest

from kome_tui.nginx.render import render_release
from tests.http_client import Wire, request
from tests.nginx_fixture import RunSite, fresh
from tests.nginx_process import FETCHED, Build, builds
from tests.nginx_site import EVERY_ROLE, Site, on_linux, site
from tests.upstreams import Answer, Asked, Tokens, Upstream, answer
from tests.waiting import wait_until

HOPS = pytest.mark.parametrize("node", EVERY_ROLE)


def test_every_nginx_that_the_edge_meets_is_here() -> None:
    versions = {build.version.rpartition(".")[0] for build in builds()}

    if "1.26" not in versions:
        pytest.skip(f"nginx 1.26 is not here, so nothing ran on it: no {FETCHED}")
    assert len(versions) >= 2


# --- /.kome/ ---


@HOPS
def test_every_role_names_its_release_and_its_health(fleet: Site, node: str) -> None:
    release, health = fleet.ask("/.kome/release", node), fleet.ask("/.kome/health", node)

    assert release.body.decode() == render_release(fleet.topology, node).id
    assert (health.status, health.body) == (200, b"ok")
    for got in (release, health):
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["content-type"] == "text/plain"
    assert fleet.okome.asked == []


@HOPS
def test_status_stands_where_nginx_can_give_it(fleet: Site, build: Build, node: str) -> None:
    status = fleet.ask("/.kome/status", node)

    if "stub_status" in build.modules:
        assert status.body.startswith(b"Active connections:")
    else:
        assert status.status == 404
        assert b"stub_status" in status.body


@HOPS
@pytest.mark.parametrize("path", ["/.kome/release", "/.kome/health", "/.kome/status"])
def test_kome_paths_are_closed_to_the_rest_of_the_world(fleet: Site, node: str, path: str) -> None:
    # a node believes the fleet's own nodes about who asks: here, someone from outside
    outside = {"X-Forwarded-For": "198.51.100.9"}

    assert fleet.ask(path, node).status in (200, 404)
    got = fleet.ask(path, node, headers=outside)
    assert (got.status, got.headers["x-kome-node"], got.cache) == (403, node, "NONE")
    # nor through a path that only looks different
    for disguised in (f"/x/..{path}", f"/{path}", path.replace("k", "%6b")):
        assert fleet.ask(disguised, node, headers=outside).status == 403
    assert fleet.okome.asked == []


@on_linux
def test_kome_paths_are_open_to_the_lan_of_the_topology_and_loopback_only(
    tmp_path: Path, build: Build
) -> None:
    # of three clients behind a node of the fleet, one is in the LAN
    with site(tmp_path, build, lan=["10.1.0.0/16"]) as frontend:
        for client, status in (("10.1.2.3", 200), ("10.2.0.1", 403), ("127.0.0.9", 200)):
            headers = {"X-Forwarded-For": client}
            assert frontend.ask("/.kome/health", headers=headers).status == status
        assert frontend.ask("/.kome/health", source="127.0.0.2").status == 200


# --- ingress ---


def test_an_asset_through_the_ingress_is_kept_by_one_cache_stream_node(fleet: Site) -> None:
    paths = [fresh() for _ in range(16)]
    # a line in the log of each that served one
    before = {name: fleet.log(name).stat().st_size for name in ("node-03", "node-04")}

    first = [fleet.ask(path, "node-01").cache for path in paths]
    second = [fleet.ask(path, "node-01").cache for path in paths]

    assert set(first) == {"MISS"}
    assert set(second) == {"HIT"}
    assert len(fleet.okome.asked) == len(paths)
    wait_until(lambda: all(fleet.log(name).stat().st_size > size for name, size in before.items()))


@on_linux
def test_a_client_stays_with_one_cache_stream_node_and_clients_are_spread(fleet: Site) -> None:
    def servers(source: str) -> set[int]:
        fleet.okome.asked.clear()
        for _ in range(4):
            assert fleet.ask("/v1/models", "node-01", source=source).status == 200
        # a node keeps a connection of its own to OKOME
        return {asked.connection for asked in fleet.okome.asked}

    per_client = [servers(f"127.0.0.{number}") for number in range(2, 14)]

    assert all(len(used) == 1 for used in per_client)
    assert len(set().union(*per_client)) >= 2


def test_an_ingress_tells_what_the_peer_said_of_its_cache_and_nothing_odd(
    run_site: RunSite,
) -> None:
    def says(asked: Asked) -> Answer:
        return answer("x", "200 OK", f"X-Cache: {'HIT' if 'hit' in asked.target else 'h <x>'}")

    with Upstream(says) as peer, run_site("node-01", elsewhere={"node-03": peer.port}) as edge:
        assert edge.ask("/assets/hit", "node-01").cache == "HIT"
        assert edge.ask("/assets/odd", "node-01").cache == "NONE"


# --- speculative-gpu ---


def test_the_draft_server_is_reached_under_its_prefix(run_site: RunSite) -> None:
    with Upstream(lambda asked: answer(asked.target)) as draft:
        at = {"draft": {"address": "127.0.0.1", "port": draft.port}}
        with run_site("node-07", nodes={"node-07": at}) as edge:
            got = edge.ask("/draft/v1/models?a=1", "node-07")

            assert (got.body, got.cache) == (b"/v1/models?a=1", "NONE")
            assert edge.okome.asked == []
            assert edge.ask("/v1/models", "node-07").body == b"0"
            assert edge.okome.paths() == ["/v1/models"]


def test_a_stream_of_the_draft_server_flows_and_a_post_is_sent_once(run_site: RunSite) -> None:
    tokens = Tokens(5)
    with Upstream(tokens.script) as draft:
        at = {"draft": {"address": "127.0.0.1", "port": draft.port}}
        with run_site("node-07", nodes={"node-07": at}) as edge:
            with Wire(edge.port("node-07")) as wire:
                path = "/draft/v1/completions"
                wire.send(request("POST", path, {"Connection": "close"}, b"{}"))
                for number in range(tokens.count):
                    tokens.open()
                    wire.until(b'"%d "' % number)
            draft.asked.clear()
            draft.script = lambda _: None

            assert edge.ask(path, "node-07", method="POST", body=b"x").status == 502
            assert len(draft.asked) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_node_without_a_draft_server_says_so(fleet: Site, method: str) -> None:
    got = fleet.ask("/draft/v1/models", "node-07", method=method)

    assert (got.status, got.cache) == (503, "NONE")
    assert b"no draft-model server is configured" in got.body
    assert got.headers["cache-control"] == "no-store"
    assert fleet.okome.asked == []


# --- observability ---


def test_services_are_reached_at_their_paths_and_the_rest_is_okomes(run_site: RunSite) -> None:
    with Upstream(lambda asked: answer(asked.target)) as other:
        at = {"address": "127.0.0.1", "port": other.port}
        services = {name: {**at, "path": f"/{name}/"} for name in ("grafana", "prometheus", "loki")}
        with run_site("node-09", nodes={"node-09": {"services": services}}) as edge:
            for path in ("/grafana/d/1?a=b", "/prometheus/api/v1/query", "/loki/ready"):
                got = edge.ask(path, "node-09")
                assert (got.status, got.body.decode(), got.cache) == (200, path, "NONE")
            assert edge.ask("/v1/models", "node-09").status == 200
            assert edge.okome.paths() == ["/v1/models"]


def test_a_service_at_the_root_takes_all_but_the_edges_own_paths(run_site: RunSite) -> None:
    with Upstream(lambda asked: answer("service")) as other:
        service = {"address": "127.0.0.1", "port": other.port, "path": "/"}
        with run_site("node-09", nodes={"node-09": {"services": {"grafana": service}}}) as edge:
            assert edge.ask("/", "node-09").body == b"service"
            assert edge.ask("/api/live", "node-09").body == b"service"
            assert edge.ask("/.kome/health", "node-09").body == b"ok"
            assert edge.ask("/health", "node-09").body == b"{}"


def test_a_dead_service_is_a_502_and_the_others_go_on(run_site: RunSite) -> None:
    service = {"address": "127.0.0.1", "port": 9, "path": "/grafana/"}
    with run_site("node-09", nodes={"node-09": {"services": {"grafana": service}}}) as edge:
        assert edge.ask("/grafana/", "node-09").status == 502
        assert edge.ask("/v1/models", "node-09").status == 200


def test_the_status_of_each_node_is_passed_on_to_the_lan_only(fleet: Site, build: Build) -> None:
    outside = {"X-Forwarded-For": "198.51.100.9"}
    for name in fleet.nodes:
        got = fleet.ask(f"/nodes/{name}/status", "node-09")
        if "stub_status" in build.modules:
            assert (got.status, got.body.startswith(b"Active connections:")) == (200, True)
        else:
            assert got.status == 404
        assert fleet.ask(f"/nodes/{name}/status", "node-09", headers=outside).status == 403

    assert fleet.ask("/nodes/none/status", "node-09").status == 404
    assert fleet.ask("/nodes/kome/release", "node-09").status == 404
    assert fleet.okome.asked == []
