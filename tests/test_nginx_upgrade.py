"""WebSocket through real nginx: 101 at every hop and bytes both ways; nothing else is upgraded."""

import socket

import pytest

from tests.http_client import Wire
from tests.nginx_fixture import RunSite, fresh
from tests.nginx_site import CACHING, EVERY_ROLE, Site, okome_says
from tests.upstreams import Answer, Asked, Upstream

HOPS = pytest.mark.parametrize("node", EVERY_ROLE)
"""node-01 is ingress > cache-stream > OKOME, the others are one hop."""


def upgrading(asked: Asked) -> Answer:
    """Turns to WebSocket, as far as HTTP sees it: says hello, then all it hears in capitals."""
    wanted = (asked.headers.get("upgrade"), asked.headers.get("connection"))
    if wanted != ("websocket", "upgrade"):
        return okome_says(asked)

    def talk(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: yes\r\n\r\nhello"
        )
        while heard := connection.recv(4096):
            connection.sendall(heard.upper())

    return talk


def asking(path: str, upgrade: str = "websocket") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: kome\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def talks(port: int, sent: bytes) -> None:
    """Upgrade, and be answered twice."""
    with Wire(port) as wire:
        wire.send(sent)
        head = wire.until(b"hello")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nUpgrade: websocket\r\n" in head
        assert b"\r\nConnection: upgrade\r\n" in head
        for word in (b"one", b"two" * 20_000):
            wire.send(word)
            wire.until(word.upper())


@HOPS
@pytest.mark.parametrize("path", ["/ws", "/v1/realtime", "/api/live"])
def test_websocket_works_on_every_path_that_passes_through(
    fleet: Site, node: str, path: str
) -> None:
    fleet.okome.script = upgrading

    talks(fleet.port(node), asking(path))

    assert fleet.okome.asked[0].headers["sec-websocket-version"] == "13"


def test_websocket_works_at_the_page_too(fleet: Site) -> None:
    fleet.okome.script = upgrading

    talks(fleet.port(), asking("/"))


def test_any_spelling_of_websocket_upgrades(fleet: Site) -> None:
    fleet.okome.script = upgrading

    talks(fleet.port(), asking("/ws", upgrade="WebSocket"))


def test_websocket_goes_to_the_gpu_where_the_topology_says_so(run_site: RunSite) -> None:
    with Upstream(upgrading) as gpu:
        at = {"vllm": {"address": "127.0.0.1", "port": gpu.port}}
        with run_site(stream_path="gpu", nodes={"kome": {"upstreams": at}}) as frontend:
            talks(frontend.port(), asking("/v1/realtime"))
            assert frontend.okome.asked == []


def test_websocket_reaches_a_draft_server_and_a_service(run_site: RunSite) -> None:
    with Upstream(upgrading) as other:
        at = {"address": "127.0.0.1", "port": other.port}
        more = {
            "node-07": {"draft": at},
            "node-09": {"services": {"grafana": {**at, "path": "/grafana/"}}},
        }
        with run_site("node-07", "node-09", nodes=more) as edge:
            talks(edge.port("node-07"), asking("/draft/v1/realtime"))
            talks(edge.port("node-09"), asking("/grafana/api/live/ws"))

            assert other.paths() == ["/v1/realtime", "/grafana/api/live/ws"]


@HOPS
@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "websocket, h2c"])
def test_nothing_else_is_upgraded(fleet: Site, node: str, upgrade: str) -> None:
    headers = {"Upgrade": upgrade, "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AA"}

    got = fleet.ask("/v1/models", node, headers=headers)

    seen = fleet.okome.asked[0].headers
    assert got.status == 200
    assert "upgrade" not in seen
    assert "connection" not in seen


@pytest.mark.parametrize("node", CACHING)
def test_a_static_file_is_not_upgraded(fleet: Site, node: str) -> None:
    fleet.okome.script = upgrading
    with Wire(fleet.port(node)) as wire:
        wire.send(asking(fresh()))
        assert not wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
