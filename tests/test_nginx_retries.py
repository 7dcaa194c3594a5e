"""What real nginx sends again: a prompt never runs twice; what was not sent at all goes elsewhere.

Also the connections to OKOME, which are kept, but not for as long as OKOME keeps them.
"""

import socket

import pytest

from tests.http_client import Wire, request
from tests.nginx_fixture import RunSite, fresh
from tests.nginx_site import EVERY_ROLE, Site
from tests.upstreams import Answer, Asked, Tokens, Upstream, answer, reset
from tests.waiting import wait_until

HOPS = pytest.mark.parametrize("node", EVERY_ROLE)
"""node-01 is ingress > cache-stream > OKOME, the others are one hop."""


def half_a_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")


BREAKS = pytest.mark.parametrize(
    "breaks", [None, reset, half_a_head], ids=["closes", "resets", "half"]
)


@HOPS
@BREAKS
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_that_was_sent_is_not_sent_again(
    fleet: Site, node: str, path: str, method: str, breaks: Answer
) -> None:
    fleet.okome.script = lambda _: breaks

    got = fleet.ask(path, node, method=method, body=b"prompt")

    assert (got.status, got.cache) == (502, "NONE")
    assert [asked.body for asked in fleet.okome.asked] == [b"prompt"]


@pytest.mark.parametrize("breaks", [None, reset], ids=["closes", "resets"])
def test_a_post_that_a_peer_dropped_is_not_sent_to_okome(run_site: RunSite, breaks: Answer) -> None:
    with (
        Upstream(lambda _: breaks) as peer,
        run_site("node-01", elsewhere={"node-03": peer.port}) as edge,
    ):
        got = edge.ask("/v1/chat/completions", "node-01", method="POST", body=b"prompt")

        assert got.status == 502
        assert [asked.body for asked in peer.asked] == [b"prompt"]
        assert edge.okome.asked == []


@HOPS
def test_a_get_that_was_dropped_before_it_was_answered_is_asked_again(
    fleet: Site, node: str
) -> None:
    def every_second(asked: Asked) -> Answer:
        closing = answer("fine", "200 OK", "Connection: close")
        return closing if len(fleet.okome.asked) % 2 == 0 else None

    fleet.okome.script = every_second

    # and OKOME is never marked as down: the fourth is answered like the first
    assert [fleet.ask("/v1/models", node).status for _ in range(4)] == [200] * 4
    assert len(fleet.okome.asked) == 8


@HOPS
@pytest.mark.parametrize(
    ("method", "times"), [("GET", 2), ("HEAD", 2), ("PUT", 2), ("DELETE", 2), ("POST", 1)]
)
def test_nginx_repeats_once_what_http_calls_idempotent(
    fleet: Site, node: str, method: str, times: int
) -> None:
    fleet.okome.script = lambda _: None

    assert fleet.ask("/api/x", node, method=method).status == 502

    # behind an ingress too: its peer answers 502, and an answer is passed on as it is
    assert fleet.okome.asked_for("/api/x") == times


@HOPS
def test_an_answer_that_has_begun_is_not_asked_for_again(fleet: Site, node: str) -> None:
    def begins(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        reset(connection)

    fleet.okome.script = lambda _: begins
    with Wire(fleet.port(node)) as wire:
        wire.send(request("GET", "/v1/events", {"Connection": "close"}))
        wire.until(b"data: 1")

    assert fleet.okome.asked_for("/v1/events") == 1


# --- not sent at all ---


def test_a_dead_peer_is_replaced_by_okome_at_once(run_site: RunSite) -> None:
    large = b"x" * (3 * 1024 * 1024)
    with run_site("node-01", "node-03") as edge:
        assert edge.ask("/v1/models", "node-01").status == 200
        edge.nodes["node-03"].stop()

        posted = edge.ask("/v1/embeddings", "node-01", method="POST", body=b"12345")
        asset = edge.ask(fresh(), "node-01")
        upload = edge.ask("/v1/embeddings", "node-01", method="POST", body=large)

        assert (posted.status, posted.body) == (200, b"5")
        assert (asset.status, asset.cache) == (200, "NONE")
        assert (upload.status, upload.body) == (200, b"%d" % len(large))


def test_the_first_post_after_a_peer_died_is_not_lost(run_site: RunSite) -> None:
    with run_site("node-01", "node-03") as edge:
        edge.nodes["node-03"].stop()

        got = edge.ask("/v1/embeddings", "node-01", method="POST", body=b"12345")

        assert (got.status, got.body) == (200, b"5")
        assert edge.okome.asked_for("/v1/embeddings") == 1


def test_a_stream_flows_around_a_dead_peer(run_site: RunSite) -> None:
    tokens = Tokens(5)
    with run_site("node-01", "node-03", script=tokens.script) as edge:
        edge.nodes["node-03"].stop()
        with Wire(edge.port("node-01")) as wire:
            wire.send(request("POST", "/v1/completions", {"Connection": "close"}, b"{}"))
            for number in range(tokens.count):
                tokens.open()
                wire.until(b'"%d "' % number)
        assert len(edge.okome.asked) == 1


@HOPS
def test_the_edge_starts_and_answers_while_okome_is_down(run_site: RunSite, node: str) -> None:
    with run_site(node, okome_up=False) as edge:
        for method in ("GET", "POST"):
            got = edge.ask("/v1/models", node, method=method)
            assert (got.status, got.cache) == (502, "NONE")
        assert edge.ask("/.kome/health", node).body == b"ok"

        edge.okome.start()
        assert edge.ask("/v1/models", node).status == 200


# --- connections ---


@HOPS
def test_connections_to_okome_are_kept(fleet: Site, node: str) -> None:
    for method in ("GET", "POST", "GET", "POST", "HEAD"):
        assert fleet.ask("/v1/models", node, method=method).status == 200

    assert len(fleet.okome.asked) == 5
    assert len({asked.connection for asked in fleet.okome.asked}) == 1
    assert all("connection" not in asked.headers for asked in fleet.okome.asked)


@pytest.mark.parametrize("path", ["/assets/", "/health", "/"])
def test_so_are_those_of_other_locations(fleet: Site, path: str) -> None:
    for _ in range(3):
        assert fleet.ask(fresh() if path == "/assets/" else path).status == 200

    assert len({asked.connection for asked in fleet.okome.asked}) == 1


def test_a_kept_connection_is_given_up_before_okome_does(run_site: RunSite) -> None:
    with run_site(timeouts={"upstream_keepalive": "300ms"}) as frontend:
        assert frontend.ask("/v1/models").status == 200
        assert frontend.okome.connections == 1

        # OKOME, as scripted here, never closes one
        wait_until(lambda: frontend.okome.open_connections == 0)
