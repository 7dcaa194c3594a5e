"""What people's traffic feels, on real nginx: the golden rule, the cache, limits and failures."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from kome_tui.nginx.logformat import LogLine, parse_line
from kome_tui.nginx.render import render_release
from tests.http_client import ask, raw, read_stream
from tests.nginx_process import Build, builds
from tests.nginx_site import ASSET, EVENTS, PAGE, Site, okome_says, site
from tests.upstreams import Answer, Asked, Upstream, answer, stream
from tests.waiting import wait_until

RunSite = Callable[..., AbstractContextManager[Site]]


@pytest.fixture(params=builds(), ids=str)
def build(request: pytest.FixtureRequest) -> Build:
    found = request.param
    assert isinstance(found, Build)
    return found


@pytest.fixture
def frontend(tmp_path: Path, build: Build) -> Iterator[Site]:
    with site(tmp_path, build) as running:
        yield running


@pytest.fixture
def run_site(tmp_path: Path, build: Build) -> RunSite:
    def run(*names: str, **more: Any) -> AbstractContextManager[Site]:
        return site(tmp_path, build, names or ("kome",), **more)

    return run


# --- the cache ---


@pytest.mark.parametrize("path", ["/assets/a.css", "/ui-schema/x", "/version", "/version/"])
def test_a_static_path_is_missed_once_and_then_hit(frontend: Site, path: str) -> None:
    first, second = frontend.ask(path), frontend.ask(path)

    assert (first.status, first.cache) == (200, "MISS")
    assert (second.status, second.cache, second.body) == (200, "HIT", ASSET)
    assert frontend.okome.paths() == [path]
    assert "set-cookie" not in first.headers | second.headers


def test_a_cached_answer_is_stale_while_okome_is_down_and_fresh_after(run_site: RunSite) -> None:
    with run_site(cache={"ttl": "1s"}) as frontend:
        assert frontend.ask("/assets/a.css").cache == "MISS"
        frontend.okome.stop()
        # after a second the entry has run out: from then on it is served stale
        stale = wait_until(lambda: (got := frontend.ask("/assets/a.css")).cache == "STALE" and got)
        assert (stale.status, stale.body) == (200, ASSET)

        frontend.okome.start()
        assert wait_until(lambda: frontend.ask("/assets/a.css").cache == "HIT")


def test_one_kept_copy_serves_clients_with_and_without_gzip(frontend: Site) -> None:
    zipped = frontend.ask("/assets/a.css", headers={"Accept-Encoding": "gzip"})
    plain = frontend.ask("/assets/a.css")

    assert (zipped.cache, zipped.headers.get("content-encoding")) == ("MISS", "gzip")
    assert (plain.cache, plain.headers.get("content-encoding"), plain.body) == ("HIT", None, ASSET)
    assert "accept-encoding" not in frontend.okome.asked[0].headers


def test_an_answer_to_one_user_is_neither_kept_nor_served_to_another(frontend: Site) -> None:
    first = frontend.ask("/assets/a.css", headers={"Authorization": "Bearer a"})

    assert first.cache == "BYPASS"
    assert frontend.ask("/assets/a.css").cache == "MISS"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/embeddings"])
def test_api_answers_are_never_cached(frontend: Site, path: str, method: str) -> None:
    answers = [frontend.ask(path, method=method) for _ in range(3)]

    assert [got.cache for got in answers] == ["NONE"] * 3
    assert len(frontend.okome.asked) == 3


def test_health_is_asked_each_time_and_red_in_one_probe(frontend: Site) -> None:
    healthy = [frontend.ask("/health") for _ in range(2)]
    frontend.okome.stop()

    assert [got.headers["cache-control"] for got in healthy] == ["no-store"] * 2
    assert len(frontend.okome.asked) == 2
    assert frontend.ask("/health").status == 502


def test_a_cached_answer_takes_less_than_10_ms(frontend: Site) -> None:
    frontend.ask("/assets/a.css")

    def timed() -> float:
        began = time.perf_counter()
        assert frontend.ask("/assets/a.css").cache == "HIT"
        return time.perf_counter() - began

    assert sorted(timed() for _ in range(41))[20] < 0.010


# --- the page ---


def test_the_page_comes_from_okome_while_it_answers(frontend: Site) -> None:
    assert [frontend.ask("/").body for _ in range(2)] == [PAGE, PAGE]
    assert frontend.okome.paths() == ["/", "/"]


def test_the_kept_page_is_served_when_okome_is_down(frontend: Site) -> None:
    frontend.ask("/")
    frontend.okome.stop()

    served = wait_until(lambda: (got := frontend.ask("/")).cache == "STALE" and got)

    assert (served.status, served.body) == (200, PAGE)
    assert frontend.ask("/", method="HEAD").status == 200
    frontend.okome.start()
    assert frontend.ask("/").cache == "BYPASS"


@pytest.mark.parametrize(
    "headers", [{"Cookie": "session=1"}, {"Authorization": "Bearer x"}], ids=["cookie", "auth"]
)
def test_a_page_made_for_one_user_is_not_kept(frontend: Site, headers: dict[str, str]) -> None:
    frontend.ask("/", headers=headers)
    frontend.okome.stop()

    assert frontend.ask("/").status == 503


@pytest.mark.parametrize("header", ["Set-Cookie: a=1", "Cache-Control: private"])
def test_a_page_that_okome_marks_as_private_is_not_kept(run_site: RunSite, header: str) -> None:
    with run_site(script=lambda _: answer(PAGE, "200 OK", header)) as frontend:
        frontend.ask("/")
        frontend.okome.stop()

        assert frontend.ask("/").status == 503


def test_with_nothing_kept_there_is_a_maintenance_page(frontend: Site) -> None:
    frontend.okome.stop()

    page = frontend.ask("/")

    assert page.status == 503
    assert page.headers["retry-after"] == "10"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["content-type"] == "text/plain"
    assert f"127.0.0.1:{frontend.okome.port}".encode() in page.body


def test_a_post_to_the_page_is_sent_once(run_site: RunSite) -> None:
    with run_site(script=lambda _: None) as frontend:
        assert frontend.ask("/", method="POST", body=b"x").status == 502
        assert len(frontend.okome.asked) == 1


# --- streams ---


def flows(port: int, path: str, headers: dict[str, str]) -> None:
    reads = read_stream(port, path, headers)

    tokens = reads.with_token()
    assert reads.text.count(b"data:") == EVENTS
    assert len(tokens) >= 0.8 * EVENTS
    assert tokens[0] < 0.2 < 0.3 < tokens[-1]
    assert b"content-encoding" not in reads.text.lower()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}], ids=["plain", "gzip"])
def test_a_stream_flows_through_the_frontend(
    frontend: Site, path: str, headers: dict[str, str]
) -> None:
    flows(frontend.nodes["kome"].port, path, headers)
    assert len(frontend.okome.asked) == 1


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}], ids=["plain", "gzip"])
def test_a_stream_flows_through_ingress_and_cache_stream(
    run_site: RunSite, headers: dict[str, str]
) -> None:
    with run_site("node-01", "node-03", "node-04") as edge:
        flows(edge.nodes["node-01"].port, "/v1/chat/completions", headers)


def test_a_second_client_never_gets_a_stored_stream(frontend: Site) -> None:
    for _ in range(2):
        flows(frontend.nodes["kome"].port, "/v1/chat/completions", {})
    assert len(frontend.okome.asked) == 2


def test_a_stream_goes_to_the_gpu_where_the_topology_says_so(run_site: RunSite) -> None:
    with Upstream(lambda _: stream(EVENTS)) as gpu:
        at = {"vllm": {"address": "127.0.0.1", "port": gpu.port}}
        with run_site(stream_path="gpu", nodes={"kome": {"upstreams": at}}) as frontend:
            flows(frontend.nodes["kome"].port, "/v1/chat/completions", {})
            assert frontend.ask("/health").status == 200

            assert gpu.paths() == ["/v1/chat/completions"]
            assert frontend.okome.paths() == ["/health"]


# --- failures and retries ---


def test_a_post_that_was_sent_is_not_sent_again(run_site: RunSite) -> None:
    with run_site(script=lambda _: None) as frontend:
        got = frontend.ask("/v1/chat/completions", method="POST", body=b"prompt")

        assert (got.status, got.cache) == (502, "NONE")
        assert [asked.body for asked in frontend.okome.asked] == [b"prompt"]


def test_a_get_that_was_dropped_is_asked_again_and_okome_is_never_marked_down(
    run_site: RunSite,
) -> None:
    def every_second(asked: Asked) -> Answer:
        closing = answer("fine", "200 OK", "Connection: close")
        return closing if asked.connection % 2 == 0 else None

    with run_site(script=every_second) as frontend:
        got = [frontend.ask("/v1/models").status for _ in range(4)]

        assert got == [200] * 4


def test_a_dead_peer_is_replaced_by_okome_at_once_for_a_post_too(run_site: RunSite) -> None:
    with run_site("node-01", "node-03") as edge:
        edge.nodes["node-03"].stop()

        posted = edge.ask("/v1/embeddings", "node-01", method="POST", body=b"12345")
        asset = edge.ask("/assets/a.css", "node-01")

        assert (posted.status, posted.body) == (200, b"5")
        assert (asset.status, asset.cache) == (200, "NONE")


def test_the_edge_starts_and_answers_while_okome_is_down(run_site: RunSite) -> None:
    def never(_: Asked) -> Answer:
        raise AssertionError

    with run_site(script=never) as frontend:
        frontend.okome.stop()

        got = frontend.ask("/v1/models")

        assert (got.status, got.cache) == (502, "NONE")
        assert frontend.ask("/.kome/health").body == b"ok"


def test_connections_to_okome_are_kept(frontend: Site) -> None:
    for _ in range(5):
        assert frontend.ask("/v1/models").status == 200

    assert frontend.okome.connections == 1


def test_an_upload_streams_through(run_site: RunSite) -> None:
    body = b"x" * (3 * 1024 * 1024)
    with run_site(limits={"body": "4m"}) as frontend:
        assert frontend.ask("/v1/embeddings", method="POST", body=body).body == b"%d" % len(body)

        temp = Path(frontend.topology.layout_of("kome").temp or "")
        assert [path for path in temp.rglob("*") if path.is_file()] == []


# --- headers ---


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/assets/a.css", 200),
        ("/v1/models", 200),
        ("/missing", 404),
        ("/assets", 404),
        ("/.kome/release", 200),
        ("/.kome/health", 200),
        ("/.kome/none", 404),
    ],
)
def test_our_headers_are_on_every_answer(frontend: Site, path: str, status: int) -> None:
    got = frontend.ask(path, headers={"X-Request-ID": "from-a-client-1"})

    assert got.status == status
    assert got.headers["x-kome-node"] == "kome"
    assert got.headers["x-request-id"] == "from-a-client-1"
    assert got.cache in ("MISS", "NONE")
    assert "server" not in got.headers or got.headers["server"] == "nginx"


@pytest.mark.parametrize("path", ["/v1/models", "/assets/a.css", "/health"])
def test_our_headers_are_on_our_own_errors(frontend: Site, path: str) -> None:
    frontend.okome.stop()

    got = frontend.ask(path)

    assert got.status == 502
    assert got.cache in ("NONE", "MISS")
    assert len(got.headers["x-request-id"]) == 32


def test_a_request_id_that_is_no_id_is_replaced(frontend: Site) -> None:
    for sent in ("short", "a b c d e f g h", "x" * 65, "tab\there-and-there"):
        got = frontend.ask("/v1/models", headers={"X-Request-ID": sent})

        assert len(got.headers["x-request-id"]) == 32
        assert frontend.okome.asked[-1].headers["x-request-id"] == got.headers["x-request-id"]


def test_okome_sees_the_host_and_the_client(frontend: Site) -> None:
    frontend.ask("/v1/models", headers={"X-Forwarded-For": "192.0.2.1", "Host": "kome.home:8080"})

    seen = frontend.okome.asked[0].headers
    assert (seen["host"], seen["x-forwarded-for"]) == ("kome.home:8080", "127.0.0.1")
    assert "connection" not in seen


# --- limits ---


def test_more_than_the_burst_is_429_with_retry_after_and_not_before(run_site: RunSite) -> None:
    with run_site(limits={"rate": 1, "burst": 5, "cached_rate": 1, "cached_burst": 60}) as frontend:
        answers = [frontend.ask("/v1/models") for _ in range(9)]

        assert [got.status for got in answers[:6]] == [200] * 6
        assert {got.status for got in answers[7:]} == {429}
        assert answers[-1].headers["retry-after"] == "1"
        assert answers[-1].cache == "NONE"
        # one page load has a bucket of its own
        assert {frontend.ask("/assets/a.css").status for _ in range(60)} == {200}


def test_okomes_own_429_keeps_its_retry_after(run_site: RunSite) -> None:
    said = answer("busy", "429 Too Many Requests", "Retry-After: 7")
    with run_site(script=lambda _: said) as frontend:
        assert frontend.ask("/v1/models").headers["retry-after"] == "7"


def test_two_clients_behind_an_ingress_are_limited_separately(run_site: RunSite) -> None:
    with run_site("node-03", limits={"rate": 1, "burst": 2}) as edge:
        first = [
            edge.ask("/v1/models", "node-03", headers={"X-Forwarded-For": "192.0.2.1"}).status
            for _ in range(5)
        ]
        second = edge.ask("/v1/models", "node-03", headers={"X-Forwarded-For": "192.0.2.2"})

        assert first[-1] == 429
        assert second.status == 200


# --- WebSocket ---


def upgrade(port: int, path: str) -> bytes:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: kome\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request.encode())
        read = b""
        while b"hello" not in read and (part := connection.recv(4096)):
            read += part
        return read


def websocket_says(asked: Asked) -> Answer:
    if asked.headers.get("upgrade") != "websocket" or asked.headers["connection"] != "upgrade":
        return okome_says(asked)
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    return head + b"hello"


@pytest.mark.parametrize("path", ["/ws", "/v1/realtime", "/api/live"])
def test_websocket_upgrades_on_every_pass_through_path(run_site: RunSite, path: str) -> None:
    with run_site("kome", "node-01", "node-03", script=websocket_says) as edge:
        for node in edge.nodes.values():
            read = upgrade(node.port, path)
            assert read.startswith(b"HTTP/1.1 101 ")
            assert read.endswith(b"hello")


def test_only_websocket_is_upgraded(frontend: Site) -> None:
    frontend.ask("/v1/models", headers={"Upgrade": "h2c", "Connection": "Upgrade"})

    seen = frontend.okome.asked[0].headers
    assert "upgrade" not in seen
    assert "connection" not in seen


# --- /.kome/ and the roles ---


@pytest.mark.parametrize("name", ["kome", "node-01", "node-03", "node-07", "node-09"])
def test_every_role_names_its_release_and_passes_the_rest_to_okome(
    run_site: RunSite, name: str
) -> None:
    with run_site(name) as edge:
        release = edge.ask("/.kome/release", name)
        models = edge.ask("/v1/models", name)

        assert release.body.decode() == render_release(edge.topology, name).id
        assert release.headers["cache-control"] == "no-store"
        assert edge.ask("/.kome/health", name).body == b"ok"
        assert (models.status, models.headers["x-kome-node"]) == (200, name)
        assert edge.ask("/health", name).status == 200


def test_status_stands_where_nginx_can_give_it(frontend: Site, build: Build) -> None:
    status = frontend.ask("/.kome/status")

    if "stub_status" in build.modules:
        assert status.body.startswith(b"Active connections:")
    else:
        assert status.status == 404
        assert b"stub_status" in status.body


def test_kome_paths_are_closed_to_the_rest_of_the_world(run_site: RunSite) -> None:
    # a cache-stream node believes its ingress about who asks: here, someone from outside
    outside = {"X-Forwarded-For": "198.51.100.9"}
    with run_site("node-03") as edge:
        for path in ("/.kome/release", "/.kome/health", "/.kome/status"):
            assert edge.ask(path, "node-03").status in (200, 404)
            assert edge.ask(path, "node-03", headers=outside).status == 403


def test_an_asset_through_the_ingress_is_kept_by_one_cache_stream_node(run_site: RunSite) -> None:
    with run_site("node-01", "node-03", "node-04") as edge:
        paths = [f"/assets/{number}.css" for number in range(12)]
        first = [edge.ask(path, "node-01").cache for path in paths]
        second = [edge.ask(path, "node-01").cache for path in paths]

        assert set(first) == {"MISS"}
        assert set(second) == {"HIT"}
        assert len(edge.okome.asked) == len(paths)
        served = {name: edge.log(name) for name in ("node-03", "node-04")}
        assert wait_until(lambda: all(log.read_bytes() for log in served.values()))


def test_the_draft_server_is_reached_under_its_prefix(run_site: RunSite) -> None:
    with Upstream(lambda asked: answer(asked.target)) as draft:
        at = {"draft": {"address": "127.0.0.1", "port": draft.port}}
        with run_site("node-07", nodes={"node-07": at}) as edge:
            assert edge.ask("/draft/v1/models?a=1", "node-07").body == b"/v1/models?a=1"
            assert edge.okome.asked == []


def test_a_node_without_a_draft_server_says_so(run_site: RunSite) -> None:
    with run_site("node-07") as edge:
        got = edge.ask("/draft/v1/models", "node-07")

        assert (got.status, got.cache) == (503, "NONE")
        assert b"no draft-model server is configured" in got.body
        assert edge.okome.asked == []


def test_services_and_statuses_are_reached_on_an_observability_node(
    run_site: RunSite, build: Build
) -> None:
    with Upstream(websocket_says) as grafana:
        service = {"address": "127.0.0.1", "port": grafana.port, "path": "/grafana/"}
        with run_site(
            "node-09", "node-03", nodes={"node-09": {"services": {"grafana": service}}}
        ) as edge:
            edge.ask("/grafana/d/1", "node-09")
            read = upgrade(edge.nodes["node-09"].port, "/grafana/api/live/ws")
            status = edge.ask("/nodes/node-03/status", "node-09")

            assert grafana.paths() == ["/grafana/d/1", "/grafana/api/live/ws"]
            assert read.startswith(b"HTTP/1.1 101 ")
            assert (status.status == 200) == ("stub_status" in build.modules)
            assert edge.ask("/nodes/none/status", "node-09").status == 404


# --- the access log ---


def lines_of(log: Path, count: int) -> list[LogLine]:
    """The first `count` lines, once they are there, each of them readable."""

    def read() -> list[bytes]:
        found = log.read_bytes().splitlines(keepends=True) if log.exists() else []
        return found if len(found) >= count else []

    parsed = [parse_line(line) for line in wait_until(read, within_s=5.0)]
    assert all(line is not None for line in parsed)
    return [line for line in parsed if line is not None]


def test_a_line_is_there_within_a_second_or_so_and_says_it_all(frontend: Site) -> None:
    began = time.time()
    for _ in range(2):
        frontend.ask("/assets/a.css?v=1", headers={"User-Agent": "a\tb é \x01"})
    frontend.ask("/v1/models", method="POST", body=b"x")

    miss, hit, post = lines_of(frontend.log(), 3)

    assert time.time() - began < 3.0
    assert [line.cache for line in (miss, hit, post)] == ["MISS", "HIT", "-"]
    assert (miss.upstream, hit.upstream) == (f"127.0.0.1:{frontend.okome.port}", None)
    assert (hit.upstream_s, hit.status, hit.uri) == (None, 200, "/assets/a.css?v=1")
    assert (post.method, post.node, post.client) == ("POST", "kome", "127.0.0.1")
    assert miss.bytes_sent > len(ASSET)
    assert abs(miss.at - began) < 5
    assert "\t" not in miss.agent


def test_a_client_cannot_forge_a_line(frontend: Site) -> None:
    port = frontend.nodes["kome"].port
    hostile = [
        b"GET /a cache=HIT upstream=x HTTP/1.1\r\n\r\n",
        b"GET /a\tHIT\t200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: x\tHIT\t200\tHIT\r\nConnection: close\r\n\r\n",
        b"GET /a%09HIT%0a1700000000.000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"\xff\xfe\x00 HIT\r\n\r\n",
        b"G\tHIT /a HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    for request in hostile:
        raw(port, request)
    ask(port, "/last")

    lines = lines_of(frontend.log(), len(hostile) + 1)

    assert len(lines) == len(hostile) + 1
    assert {line.cache for line in lines} == {"-"}
    assert {line.node for line in lines} == {"kome"}
    assert {line.status for line in lines} <= {400, 404}


def test_requests_of_the_console_itself_are_not_logged(frontend: Site) -> None:
    for path in ("/.kome/release", "/.kome/health", "/.kome/status", "/v1/models"):
        frontend.ask(path)

    assert [line.uri for line in lines_of(frontend.log(), 1)] == ["/v1/models"]
