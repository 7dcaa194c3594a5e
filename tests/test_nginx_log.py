"""The access log of real nginx: there within a second, one line a request, nothing forged."""

import time
from pathlib import Path

import pytest

from kome_tui.nginx.logformat import LogLine, parse_line
from kome_tui.nginx.render import render_release
from tests.http_client import ask, raw
from tests.nginx_fixture import RunSite
from tests.nginx_site import ASSET, EVERY_ROLE, Site
from tests.waiting import wait_until


def lines_of(log: Path, count: int) -> list[LogLine]:
    """All lines, once there are `count`, each of them readable."""

    def read() -> list[bytes]:
        found = log.read_bytes().splitlines(keepends=True) if log.exists() else []
        return found if len(found) >= count else []

    parsed = [parse_line(line) for line in wait_until(read)]
    assert all(line is not None for line in parsed)
    return [line for line in parsed if line is not None]


def test_a_line_is_there_soon_and_says_it_all(run_site: RunSite) -> None:
    with run_site() as frontend:
        began = time.time()
        for _ in range(2):
            frontend.ask("/assets/a.css?v=1", headers={"User-Agent": "a\tb é \x01"})
        frontend.ask("/v1/models", method="POST", body=b"x", headers={"X-Request-ID": "id-of-mine"})

        miss, hit, post = lines_of(frontend.log(), 3)

        # how soon stands in the file: a busy machine is no clock
        assert "buffer=32k flush=1s;" in render_release(frontend.topology, "kome").conf
        assert [line.cache for line in (miss, hit, post)] == ["MISS", "HIT", "-"]
        assert (miss.upstream, hit.upstream) == (f"127.0.0.1:{frontend.okome.port}", None)
        assert (hit.upstream_s, hit.status, hit.uri) == (None, 200, "/assets/a.css?v=1")
        assert (post.method, post.node, post.client) == ("POST", "kome", "127.0.0.1")
        assert post.request_id == "id-of-mine"
        assert miss.bytes_sent > len(ASSET)
        assert abs(miss.at - began) < 60
        assert "\t" not in miss.agent


def test_every_role_logs_what_it_passes_and_what_it_keeps(run_site: RunSite) -> None:
    sent = {"X-Request-ID": "one-and-the-same"}
    with run_site(*EVERY_ROLE) as edge:
        for node in ("kome", "node-03", "node-07", "node-09"):
            edge.ask("/v1/models", node)
        edge.ask("/assets/a.css", "node-01", headers=sent)

        for node in EVERY_ROLE:
            assert lines_of(edge.log(node), 1)[0].node == node
        through = lines_of(edge.log("node-03"), 2)[1]
        # an ingress keeps nothing: what its peer had in its cache is counted there, and once
        assert [(line.cache, line.request_id) for line in lines_of(edge.log("node-01"), 1)] == [
            ("-", "one-and-the-same")
        ]
        assert (through.cache, through.request_id) == ("MISS", "one-and-the-same")


def test_a_client_cannot_forge_a_line(run_site: RunSite) -> None:
    close = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    hostile = [
        b"GET /a cache=HIT upstream=x HTTP/1.1\r\n\r\n",
        b"GET /a\tHIT\t200" + close + b"\r\n",
        b"GET /a" + close + b"User-Agent: x\tHIT\t200\tHIT\r\n\r\n",
        b"GET /a" + close + b"User-Agent: x\\x0a1700000000.000\tkome\tHIT\r\n\r\n",
        b"GET /a" + close + b"User-Agent: \xff\xfe\x00\x1b]0;x\x07\r\n\r\n",
        b"GET /a" + close + b"X-Request-ID: a\tHIT\t200\tHIT\r\n\r\n",
        b"GET /a%09HIT%0a1700000000.000" + close + b"\r\n",
        b"\xff\xfe\x00 HIT\r\n\r\n",
        b"G\tHIT /a HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    with run_site() as frontend:
        port = frontend.port()
        for sent in hostile:
            raw(port, sent)
        ask(port, "/last")

        lines = lines_of(frontend.log(), len(hostile) + 1)

        assert len(lines) == len(hostile) + 1
        assert {line.cache for line in lines} == {"-"}
        assert {line.node for line in lines} == {"kome"}
        assert {line.client for line in lines} == {"127.0.0.1"}
        assert {line.status for line in lines} <= {400, 404}
        assert {len(line.request_id) for line in lines} == {32}
        assert lines[-1].uri == "/last"


def test_requests_of_the_console_itself_are_not_logged(run_site: RunSite) -> None:
    with run_site() as frontend:
        for path in ("/.kome/release", "/.kome/health", "/.kome/status", "/v1/models"):
            frontend.ask(path)

        assert [line.uri for line in lines_of(frontend.log(), 1)] == ["/v1/models"]


@pytest.mark.parametrize("node", EVERY_ROLE)
def test_refusals_are_logged_with_their_status(fleet: Site, node: str) -> None:
    path = f"/x-{node}"
    fleet.okome.stop()

    fleet.ask(path, node)

    def logged() -> list[LogLine]:
        parsed = map(parse_line, fleet.log(node).read_bytes().splitlines(keepends=True))
        return [line for line in parsed if line and line.uri == path]

    (line,) = wait_until(logged)
    assert (line.status, line.cache) == (502, "-")
