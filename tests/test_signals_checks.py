"""Checks of services against real sockets, healthy, dead, silent and hostile."""

import errno
import json
import socket
import threading
import time

import pytest

from kome_tui.errors import ForwardFailed, ForwardForbidden, SshUnreachable
from kome_tui.signals import checks
from kome_tui.signals.checks import check_http, check_upstream
from kome_tui.signals.dial import Socket, direct
from kome_tui.signals.grpc_check import check_grpc
from kome_tui.signals.readings import Check
from kome_tui.topology.model import Endpoint, Topology, UpstreamName
from tests.signals_servers import answering, closed_port, http, scripted, silent

ANYWHERE = Endpoint(address="127.0.0.1", port=9)
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


def looked_at(answer: bytes, path: str = "/health", timeout_s: float = 2.0) -> Check:
    with scripted(answering(answer)) as endpoint:
        return check_http(endpoint, path, direct, timeout_s)


def test_a_healthy_answer_is_up_with_its_latency() -> None:
    check = looked_at(http(b'{"status": "ok"}'))
    assert (check.state, check.reason, check.status) == ("up", None, 200)
    assert check.latency_ms is not None
    assert 0 < check.latency_ms < 500


def test_the_marker_is_told_as_it_is() -> None:
    check = looked_at(http(b"0123456789ab\n", "200 OK", "X-Cache: NONE", "X-Kome-Node: node-01"))
    assert check.detail == {"body": "0123456789ab", "X-Cache": "NONE", "X-Kome-Node": "node-01"}


def test_a_page_is_not_told() -> None:
    assert looked_at(http(b"<html>", "200 OK", "Content-Type: text/html")).detail == {}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(b"", "502 Bad Gateway"), "answered 502 Bad Gateway"),
        (http(b"", "404 Not Found"), "answered 404 Not Found"),
        (http(b'{"status": "degraded"}'), 'reports "degraded"'),
        (
            http(b'{"status": "sick"}', "503 Service Unavailable"),
            'answered 503 Service Unavailable, reports "sick"',
        ),
    ],
)
def test_a_live_but_unwell_service_is_degraded(answer: bytes, reason: str) -> None:
    check = looked_at(answer)
    assert (check.state, check.reason) == ("degraded", reason)
    assert check.latency_ms is not None


def test_a_redirect_is_up() -> None:
    assert looked_at(http(b"", "302 Found", "Location: /ui")).state == "up"


def test_components_of_a_health_report_are_told() -> None:
    report = {
        "status": "degraded",
        "version": "1.2",
        "components": {"redis": {"status": "down"}, "vllm": "ok", "gpus": 2},
    }
    detail = looked_at(http(json.dumps(report).encode())).detail
    assert detail["redis"] == "down"
    assert detail["vllm"] == "ok"
    assert detail["gpus"] == "2"
    assert detail["version"] == "1.2"


def test_a_slow_answer_is_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SLOW_MS", 100.0)

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        threading.Event().wait(0.2)
        connection.sendall(http(b"ok"))

    with scripted(talk) as endpoint:
        check = check_http(endpoint, "/", direct, 2.0)
    assert check.state == "degraded"
    assert check.reason == "slow: answered after 0.2 s"


def test_the_request_names_the_host_and_closes() -> None:
    seen: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(http(b"ok"))

    with scripted(talk) as endpoint:
        check_http(endpoint, "/a/b", direct, 2.0, host="kome.lan")
    assert seen[0].startswith(b"GET /a/b HTTP/1.1\r\nHost: kome.lan\r\n")
    assert b"Connection: close\r\n" in seen[0]


def test_refused_is_down() -> None:
    assert check_http(closed_port(), "/", direct, 2.0) == Check("down", None, "refused")


def test_a_silent_server_is_down_at_the_deadline() -> None:
    with scripted(silent) as endpoint:
        began = time.monotonic()
        check = check_http(endpoint, "/", direct, 0.3)
        assert time.monotonic() - began < 0.8
    assert (check.state, check.reason) == ("down", "connected, but no answer within 0.3 s")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", http(b"")[:-2] + b"X: y\r\n\r\n"])
def test_a_dripping_server_does_not_outlive_the_deadline(head: bytes) -> None:
    head = head.replace(b"Content-Length: 0", b"Content-Length: 99999")

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            threading.Event().wait(0.02)

    with scripted(talk) as endpoint:
        began = time.monotonic()
        check = check_http(endpoint, "/", direct, 0.4)
        assert time.monotonic() - began < 0.9
    assert check.state == "down"


def test_an_endless_body_is_not_read_to_its_end() -> None:
    sent = 0

    def talk(connection: socket.socket) -> None:
        nonlocal sent
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            sent += connection.send(b"x" * 65536)

    with scripted(talk) as endpoint:
        check = check_http(endpoint, "/", direct, 5.0)
    assert check.state == "up"
    assert check.detail["body"] == "x" * 200 + "…"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x1b]52;c;aGk=\x07\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 999 \x1b[2J\x9b31m\r\n\r\n",
        b"HTTP/1.1 200 \x1b]0;x\x07\r\nContent-Length: 4\r\n\r\n\x1b[2J",
        b"HTTP/1.1 500 \xe2\x80\xaeoops\r\nX-Cache: \x1b[31m\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Cache: [/red]\xff\xfe\r\nContent-Length: 2\r\n\r\n[/",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        http(b"[" * 60_000),
        http(b'{"status": "\\u001b[2J\\u202e"}'),
        http(b'{"status": {"a": 1}, "components": {"\\u001b": "\\ud800"}}'),
        http(b"9" * 6000),
    ],
)
def test_hostile_answers_give_a_check_with_clean_texts(answer: bytes) -> None:
    check = looked_at(answer)
    texts = [*check.detail, *check.detail.values(), check.reason or ""]
    assert all(text.isprintable() for text in texts), texts
    assert check.state == "up" or check.reason


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (
            ForwardForbidden("node-01", "x"),
            "unknown",
            "forwarding forbidden by the sshd of node-01",
        ),
        (SshUnreachable("node-01", "timed out"), "unknown", "cannot look from node-01: timed out"),
        (ForwardFailed("node-01", "x", "Connection refused"), "down", "refused"),
        (ForwardFailed("node-01", "x", "No route to host"), "down", "no route"),
        (ForwardFailed("node-01", "x", "Connection timed out"), "down", "timed out after 2 s"),
        (ForwardFailed("node-01", "x", "no answer in 2.0 s"), "down", "timed out after 2 s"),
        (TimeoutError(), "down", "timed out after 2 s"),
        (OSError(errno.EHOSTUNREACH, "x"), "down", "no route"),
        (OSError(errno.ENETUNREACH, "x"), "unknown", "no network here"),
        (OSError("\x1b[2J"), "down", "\\x1b[2J"),
    ],
)
def test_what_a_dial_raises_says_who_is_at_fault(error: Exception, state: str, reason: str) -> None:
    def dial(endpoint: Endpoint, timeout_s: float) -> Socket:
        raise error

    for check in (
        check_http(ANYWHERE, "/", dial, 2.0),
        check_grpc(ANYWHERE, dial, 2.0),
        check_upstream(topology(ANYWHERE), UpstreamName.REDIS, dial, None, 2.0),
    ):
        assert (check.state, check.reason, check.latency_ms) == (state, reason, None)


def test_the_connection_is_always_closed() -> None:
    opened: list[socket.socket] = []

    def dial(endpoint: Endpoint, timeout_s: float) -> Socket:
        opened.append(socket.create_connection((endpoint.address, endpoint.port), timeout_s))
        return opened[-1]

    for answer in (http(b"ok"), b"nonsense\r\n\r\n", b""):
        with scripted(answering(answer)) as endpoint:
            check_http(endpoint, "/", dial, 2.0)
            check_grpc(endpoint, dial, 2.0)
            check_upstream(topology(endpoint), UpstreamName.REDIS, dial, None, 2.0)
    assert [connection.fileno() for connection in opened] == [-1] * 9


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (SETTINGS, "up"),
        (bytes((0, 0, 6, 4, 0, 0, 0, 0, 0)) + bytes(6), "up"),
        (http(b"no", "400 Bad Request"), "degraded"),
        (b"abc", "degraded"),
        (b"", "down"),
    ],
)
def test_grpc_is_told_by_its_settings_frame(answer: bytes, state: str) -> None:
    with scripted(answering(answer)) as endpoint:
        check = check_grpc(endpoint, direct, 2.0)
    assert check.state == state
    assert (check.reason is None) == (state == "up")


def test_a_settings_frame_may_come_in_pieces() -> None:
    def talk(connection: socket.socket) -> None:
        for byte in SETTINGS:
            connection.sendall(bytes([byte]))
        while connection.recv(65536):  # closed with something unread, it would be reset
            pass

    with scripted(talk) as endpoint:
        assert check_grpc(endpoint, direct, 2.0).state == "up"


def test_a_silent_grpc_port_is_down() -> None:
    with scripted(silent) as endpoint:
        assert check_grpc(endpoint, direct, 0.2).state == "down"


@pytest.mark.parametrize(
    ("upstream", "path"),
    [
        (UpstreamName.OKOME, b"/health"),
        (UpstreamName.VLLM, b"/health"),
        (UpstreamName.OLLAMA, b"/api/version"),
        (UpstreamName.TF_REST, b"/v1/models"),
    ],
)
def test_each_upstream_is_asked_at_its_own_path(upstream: UpstreamName, path: bytes) -> None:
    seen: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(http(b'{"version": "0.5"}'))

    with scripted(talk) as endpoint:
        check = check_upstream(topology(endpoint), upstream, direct, None, 2.0)
    assert check.state == "up"
    assert seen[0].split()[1] == path


def test_tf_serving_without_a_model_is_up() -> None:
    with scripted(answering(http(b"{}", "404 Not Found"))) as endpoint:
        check = check_upstream(topology(endpoint), UpstreamName.TF_REST, direct, None, 2.0)
    assert (check.state, check.reason, check.status) == ("up", None, 404)


def test_a_node_asks_where_it_finds_the_upstream_itself() -> None:
    asked: list[Endpoint] = []

    def dial(endpoint: Endpoint, timeout_s: float) -> Socket:
        asked.append(endpoint)
        raise ConnectionRefusedError

    own = Endpoint(address="127.0.0.2", port=8001)
    for seen_from in ("kome", None):
        check_upstream(topology(ANYWHERE, own), UpstreamName.OKOME, dial, seen_from, 1.0)
    assert asked == [own, ANYWHERE]


def topology(endpoint: Endpoint, of_kome: Endpoint | None = None) -> Topology:
    """Every upstream at one endpoint; the frontend may find OKOME elsewhere."""
    at = endpoint.model_dump()
    names = ("okome", "vllm", "ollama", "tf-rest", "tf-grpc", "redis")
    own = {"okome": of_kome.model_dump()} if of_kome else {}
    return Topology.model_validate(
        {
            "lan": ["127.0.0.0/8"],
            "upstreams": dict.fromkeys(names, at),
            "nodes": {"kome": {"role": "frontend", "address": "127.0.0.1", "upstreams": own}},
        }
    )
