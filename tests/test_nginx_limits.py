"""Limits on real nginx: by the true client's address, with room for a page load, and honest."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from kome_tui.nginx.logformat import parse_line
from tests.http_client import Wire, request
from tests.nginx_fixture import RunSite
from tests.nginx_process import Build
from tests.nginx_site import EVERY_ROLE, Site, on_linux, site
from tests.upstreams import Upstream, answer
from tests.waiting import wait_until

TIGHT = {"rate": 1, "burst": 5, "cached_rate": 1, "cached_burst": 60}
HOPS = pytest.mark.parametrize("node", EVERY_ROLE)


def statuses(
    site: Site, node: str, path: str, times: int, source: str = "127.0.0.2", forwarded: str = ""
) -> list[int]:
    """Of `times` requests from one client, as quick as one after the other can be."""
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return [site.ask(path, node, source=source, headers=headers).status for _ in range(times)]


def limited(found: list[int], burst: int) -> bool:
    """Whether exactly what is above the burst was refused (give a second or two of refill)."""
    assert found[: burst + 1] == [200] * (burst + 1), "refused before the burst was used"
    return found[-1] == 429


@on_linux
@HOPS
def test_more_than_the_burst_is_429_with_retry_after_and_not_before(
    run_site: RunSite, node: str
) -> None:
    with run_site(node, limits=TIGHT) as edge:
        assert limited(statuses(edge, node, "/v1/models", 16), 5)

        last = edge.ask("/v1/models", node, source="127.0.0.2")
        assert last.status == 429
        assert last.headers["retry-after"] == "1"
        assert [last.names.count(name) for name in ("x-cache", "x-kome-node", "x-request-id")] == [
            1
        ] * 3
        # every address has its own, and one page load has a bucket of its own
        assert edge.ask("/v1/models", node, source="127.0.0.3").status == 200
        if node in ("kome", "node-01", "node-03"):
            assert statuses(edge, node, "/assets/a.css", 60) == [200] * 60
        assert "limiting requests" not in edge.nodes[node].errors()


@on_linux
@pytest.mark.parametrize("node", ["kome", "node-01", "node-03"])
def test_a_page_with_60_assets_at_once_meets_no_limit(run_site: RunSite, node: str) -> None:
    with run_site("kome", "node-01", "node-03", limits={}) as edge:
        for _ in range(2):  # cold, then from the cache
            with ExitStack() as stack:
                wires = [stack.enter_context(Wire(edge.port(node))) for _ in range(60)]
                for number, wire in enumerate(wires):
                    path = f"/assets/{number}.js"
                    wire.send(request("GET", path, {"Connection": "close"}))
                found = [wire.rest().split(b" ", 2)[1] for wire in wires]
            assert found == [b"200"] * 60
        # the page and a few calls of its scripts come beside them
        assert statuses(edge, node, "/", 1) + statuses(edge, node, "/v1/models", 20) == [200] * 21


@on_linux
def test_cached_paths_have_a_limit_too(run_site: RunSite) -> None:
    tight = {**TIGHT, "cached_burst": 3}
    with run_site(limits=tight) as frontend:
        assert limited(statuses(frontend, "kome", "/assets/a.css", 14), 3)
        assert statuses(frontend, "kome", "/v1/models", 1) == [200]


def test_okomes_own_429_keeps_its_retry_after(fleet: Site) -> None:
    fleet.okome.script = lambda _: answer("busy", "429 Too Many Requests", "Retry-After: 7")

    got = fleet.ask("/v1/models")

    assert (got.status, got.headers["retry-after"], got.names.count("retry-after")) == (429, "7", 1)


@on_linux
def test_a_post_to_the_page_is_limited_with_the_api(run_site: RunSite) -> None:
    with run_site(limits=TIGHT, script=lambda _: answer("x")) as frontend:
        found = [
            frontend.ask("/", method="POST", body=b"x", source="127.0.0.2").status
            for _ in range(16)
        ]

        assert limited(found, 5)


@on_linux
def test_the_draft_server_has_the_larger_bucket(run_site: RunSite) -> None:
    with Upstream(lambda _: answer("draft")) as draft:
        at = {"draft": {"address": "127.0.0.1", "port": draft.port}}
        with run_site("node-07", nodes={"node-07": at}, limits=TIGHT) as edge:
            assert statuses(edge, "node-07", "/draft/v1/completions", 40) == [200] * 40


# --- the true client ---


@on_linux
def test_two_clients_behind_an_ingress_are_limited_separately(run_site: RunSite) -> None:
    with run_site("node-01", "node-03", limits=TIGHT) as edge:
        first = statuses(edge, "node-01", "/v1/models", 16, "127.0.0.2")
        second = statuses(edge, "node-01", "/v1/models", 6, "127.0.0.3")

        assert limited(first, 5)
        assert second == [200] * 6
        seen = {asked.headers["x-forwarded-for"] for asked in edge.okome.asked}
        assert seen == {"127.0.0.2", "127.0.0.3"}


@on_linux
@HOPS
def test_requests_that_a_node_passes_on_are_limited_by_their_client(
    run_site: RunSite, node: str
) -> None:
    of_fleet = "127.0.0.1"
    with run_site(node, limits=TIGHT) as edge:
        first = statuses(edge, node, "/v1/models", 16, of_fleet, forwarded="192.0.2.1")
        second = statuses(edge, node, "/v1/models", 6, of_fleet, forwarded="192.0.2.2")

        assert limited(first, 5)
        assert second == [200] * 6
        assert clients(edge, node) == {"192.0.2.1", "192.0.2.2"}


@on_linux
@HOPS
def test_an_address_forged_from_outside_changes_neither_limit_nor_log(
    run_site: RunSite, node: str
) -> None:
    with run_site(node, limits=TIGHT) as edge:
        found = [
            edge.ask(
                "/v1/models",
                node,
                source="127.0.0.2",
                headers={"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": "192.0.2.9"},
            ).status
            for number in range(16)
        ]

        assert limited(found, 5)
        assert clients(edge, node) == {"127.0.0.2"}
        seen = {asked.headers["x-forwarded-for"] for asked in edge.okome.asked}
        assert seen == {asked.headers["x-real-ip"] for asked in edge.okome.asked} == {"127.0.0.2"}


def clients(edge: Site, node: str) -> set[str]:
    """The addresses in the node's log, once it has lines."""
    wait_until(lambda: edge.log(node).exists() and edge.log(node).read_bytes())
    parsed = [parse_line(line) for line in edge.log(node).read_bytes().splitlines(keepends=True)]
    return {line.client for line in parsed if line}


@on_linux
@HOPS
def test_without_the_realip_module_the_fleet_is_not_limited_by_its_shared_address(
    tmp_path: Path, build: Build, node: str
) -> None:
    plain = replace(build, modules=())
    with site(tmp_path, plain, (node,), limits=TIGHT) as edge:
        assert statuses(edge, node, "/v1/models", 20, "127.0.0.1") == [200] * 20
        assert limited(statuses(edge, node, "/v1/models", 16, "127.0.0.2"), 5)
