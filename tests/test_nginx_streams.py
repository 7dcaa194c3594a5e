"""Token streams through real nginx: each token passes before the next is made, at every hop.

The upstream sends a token only when the client has read the one before it (tests.upstreams.Tokens),
so no clock is needed: a hop that holds anything back stops the stream, and the read times out.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossplane
import pytest

from kome_tui.nginx.render import render_all
from kome_tui.topology.grammar import seconds
from tests.builders_topology import ROLES, topology, topology_values
from tests.http_client import Wire, request
from tests.nginx_fixture import RunSite
from tests.nginx_site import EVERY_ROLE, Site
from tests.upstreams import Answer, Asked, Tokens, Upstream, token
from tests.waiting import wait_until

EVENTS = 20
PUBLIC = ("Cache-Control: public, max-age=3600", "X-Accel-Expires: 3600")

GZIP = pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}], ids=["plain", "gzip"])
HOPS = pytest.mark.parametrize("node", EVERY_ROLE)
"""node-01 is ingress > cache-stream > OKOME, the others are one hop."""


def flows(port: int, tokens: Tokens, asking: bytes) -> bytes:
    """Read the stream token by token; returns all of it."""
    with Wire(port) as wire:
        wire.send(asking)
        for number in range(tokens.count):
            tokens.open()
            wire.until(b'"%d "' % number)
        text = wire.rest()
    reads = [read for read in wire.reads if b"data:" in read]
    assert len(reads) >= 0.8 * tokens.count
    assert text.count(b"data:") == tokens.count
    assert b"content-encoding" not in text.lower()
    return text


def prompt(path: str, headers: dict[str, str] | None = None, version: str = "1.1") -> bytes:
    return request("POST", path, {"Connection": "close", **(headers or {})}, b"{}", version)


@HOPS
@GZIP
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/run/stream"])
def test_a_stream_flows(fleet: Site, node: str, path: str, headers: dict[str, str]) -> None:
    tokens = Tokens(EVENTS)
    fleet.okome.script = tokens.script

    flows(fleet.port(node), tokens, prompt(path, headers))

    assert fleet.okome.paths() == [path]
    assert fleet.okome.asked[0].version == "HTTP/1.1"
    assert fleet.okome.asked[0].headers.get("accept-encoding") == headers.get("Accept-Encoding")


@HOPS
@GZIP
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_second_client_never_gets_a_stored_stream(
    fleet: Site, node: str, method: str, headers: dict[str, str]
) -> None:
    for _ in range(2):
        tokens = Tokens(EVENTS, *PUBLIC)
        fleet.okome.script = tokens.script
        asking = request(method, "/v1/events?a=1", {"Connection": "close", **headers})
        text = flows(fleet.port(node), tokens, asking)
        assert b"X-Cache: NONE\r\n" in text

    assert len(fleet.okome.asked) == 2


@HOPS
def test_a_stream_flows_to_a_client_of_http_1_0(fleet: Site, node: str) -> None:
    tokens = Tokens(EVENTS)
    fleet.okome.script = tokens.script

    text = flows(fleet.port(node), tokens, prompt("/v1/completions", version="1.0"))

    assert b"transfer-encoding" not in text.lower()
    assert text.endswith(token(EVENTS - 1))


@HOPS
@GZIP
def test_a_stream_flows_from_an_upstream_of_http_1_0(
    fleet: Site, node: str, headers: dict[str, str]
) -> None:
    tokens = Tokens(EVENTS, version="1.0")
    fleet.okome.script = tokens.script

    flows(fleet.port(node), tokens, prompt("/v1/completions", headers))


@HOPS
@pytest.mark.parametrize("path", ["/v1/completions", "/", "/run/stream"])
def test_an_answer_cannot_turn_buffering_on(fleet: Site, node: str, path: str) -> None:
    tokens = Tokens(EVENTS, "X-Accel-Buffering: yes", version="1.0")
    fleet.okome.script = tokens.script

    flows(fleet.port(node), tokens, prompt(path))


@HOPS
def test_a_client_that_goes_away_ends_the_work_for_it(fleet: Site, node: str) -> None:
    ended: list[bytes] = []

    def stream(_: Asked) -> Answer:
        def talk(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            connection.sendall(token(0))
            connection.settimeout(20)
            ended.append(connection.recv(1))

        return talk

    fleet.okome.script = stream
    with Wire(fleet.port(node)) as wire:
        wire.send(prompt("/v1/chat/completions"))
        wire.until(token(0))
        assert ended == []

    assert wait_until(lambda: ended) == [b""]


def test_a_stream_goes_to_the_gpu_where_the_topology_says_so(run_site: RunSite) -> None:
    tokens = Tokens(EVENTS)
    with Upstream(tokens.script) as gpu:
        at = {"vllm": {"address": "127.0.0.1", "port": gpu.port}}
        with run_site(stream_path="gpu", nodes={"kome": {"upstreams": at}}) as frontend:
            flows(frontend.port(), tokens, prompt("/v1/chat/completions"))
            assert frontend.ask("/health").status == 200
            assert frontend.ask("/api/tags").status == 404

            assert gpu.paths() == ["/v1/chat/completions"]
            assert frontend.okome.paths() == ["/health", "/api/tags"]


# --- long silences, by what stands in the file (tests/test_nginx_silence.py waits in earnest) ---

PREFILL_S = 70


def passing_on(conf: str, folder: Path) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """(location, directives with what it inherits) of each location that passes on."""
    path = folder / "nginx.conf"
    path.write_text(conf)
    parsed = crossplane.parse(f"{path}", single=True)
    assert parsed["status"] == "ok", parsed["errors"]
    yield from _inside(parsed["config"][0]["parsed"], "", {})


def _inside(
    block: list[dict[str, Any]], label: str, outer: dict[str, list[str]]
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    own = {line["directive"]: line["args"] for line in block if "block" not in line}
    inherited = {**outer, **own}
    if "proxy_pass" in own:
        yield label, inherited
    outside = {name: args for name, args in inherited.items() if name != "proxy_pass"}
    for line in block:
        if line["directive"] in ("http", "server", "location"):
            yield from _inside(line["block"], " ".join(line["args"]), outside)


@pytest.mark.parametrize("stream_path", ["okome", "gpu"])
@pytest.mark.parametrize("name", ROLES)
def test_every_place_that_passes_on_waits_for_a_long_prefill(
    name: str, stream_path: str, tmp_path: Path
) -> None:
    values = topology_values(stream_path=stream_path)
    at = {"address": "127.0.0.1", "port": 9}
    values["nodes"]["node-07"]["draft"] = at
    values["nodes"]["node-09"]["services"] = {"grafana": {**at, "path": "/grafana/"}}
    conf = render_all(topology(**values))[name].conf
    cached = {"^~ /assets/", "^~ /ui-schema/", "^~ /version/"}
    exact = {"= /assets", "= /ui-schema", "= /version"}
    caching = cached | exact if ROLES[name][0] in ("frontend", "cache-stream") else set()
    statuses = {f"= /nodes/{node}/status" for node in ROLES}

    long: set[str] = set()
    short: set[str] = set()
    for label, holds in passing_on(conf, tmp_path):
        patience = min(seconds(holds[f"proxy_{way}_timeout"][0]) for way in ("read", "send"))
        (long if patience >= PREFILL_S else short).add(label)
        if patience >= PREFILL_S:
            shutdown = seconds(holds["worker_shutdown_timeout"][0])
            assert shutdown >= seconds(holds["proxy_read_timeout"][0]), label
            assert holds["proxy_buffering"] == ["off"], label
            assert holds["proxy_cache"] == ["off"], label
            assert holds["proxy_http_version"] == ["1.1"], label
            assert holds["gzip"] == ["off"], label

    assert "/" in long
    expected = caching | {"= /health"}
    if name == "kome":
        expected |= {"= /", "@own_page", "@page"}
    if name == "node-09":
        expected |= statuses
    assert short == expected
