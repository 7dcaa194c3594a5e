"""Checks from a node's vantage point: through a real SSH connection, channel by channel."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.fleet.fleet import Fleet
from kome_tui.signals.checks import check_http
from kome_tui.signals.dial import Dial, Socket
from kome_tui.signals.grpc_check import check_grpc
from kome_tui.signals.redis_check import check_redis
from kome_tui.topology.model import Endpoint
from tests.fleet_site import Site, keygen
from tests.signals_servers import answering, closed_port, http, scripted, silent
from tests.ssh_server import SshServer


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    keygen(folder / "host")
    keygen(folder / "user")
    public = (folder / "user.pub").read_text()
    (folder / "authorized").write_text(public)
    (folder / "restricted").write_text(f"no-port-forwarding {public}")
    return folder


@pytest.fixture
def site(keys: Path, tmp_path: Path) -> Iterator[Site]:
    server = SshServer([keys / "host"], keys / "authorized")
    found = Site(tmp_path, server, keys / "user", keys / "host")
    found.know()
    yield found
    server.close()


@pytest.fixture
def fleet(site: Site) -> Iterator[Fleet]:
    with site.fleet() as opened:
        yield opened


@pytest.fixture
def dial(fleet: Fleet) -> Dial:
    return from_node(fleet)


def from_node(fleet: Fleet) -> Dial:
    return lambda endpoint, timeout_s: fleet.open_tcp("front", endpoint, timeout_s)


def test_a_service_is_seen_from_a_node(dial: Dial) -> None:
    with scripted(answering(http(b"0123456789ab"))) as endpoint:
        check = check_http(endpoint, "/.kome/release", dial, 5.0)
    assert (check.state, check.detail["body"]) == ("up", "0123456789ab")
    assert check.latency_ms is not None
    assert check.latency_ms < 500


def test_each_protocol_works_over_a_channel(dial: Dial) -> None:
    with scripted(answering(b"+PONG\r\n")) as endpoint:
        assert check_redis(endpoint, dial, 5.0).state == "up"
    with scripted(answering(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))) as endpoint:
        assert check_grpc(endpoint, dial, 5.0).state == "up"


def test_a_large_answer_passes_a_channel(dial: Dial) -> None:
    with scripted(answering(http(b"x" * 500_000))) as endpoint:
        assert check_http(endpoint, "/", dial, 5.0).state == "up"


def test_what_the_node_cannot_reach_is_down(dial: Dial) -> None:
    check = check_http(closed_port(), "/", dial, 5.0)
    assert (check.state, check.reason) == ("down", "refused")


def test_what_hangs_behind_the_node_is_down(dial: Dial) -> None:
    check_http(closed_port(), "/", dial, 5.0)  # connects
    with scripted(silent) as endpoint:
        for check in (check_http(endpoint, "/", dial, 0.4), check_redis(endpoint, dial, 0.4)):
            assert check.state == "down"
            assert check.reason == "connected, but no answer within 0.4 s"


def test_a_node_that_may_not_look_leaves_it_unknown(keys: Path, tmp_path: Path) -> None:
    server = SshServer([keys / "host"], keys / "restricted")
    site = Site(tmp_path, server, keys / "user", keys / "host")
    site.know()
    try:
        with site.fleet() as fleet, scripted(answering(http(b"ok"))) as endpoint:
            check = check_http(endpoint, "/", from_node(fleet), 5.0)
    finally:
        server.close()
    assert (check.state, check.latency_ms) == ("unknown", None)
    assert check.reason == "forwarding forbidden by the sshd of front"


def test_a_node_without_ssh_leaves_it_unknown(keys: Path, tmp_path: Path) -> None:
    server = SshServer([keys / "host"], keys / "authorized")
    site = Site(tmp_path, server, keys / "user", keys / "host")
    server.close()
    with site.fleet() as fleet, scripted(answering(http(b"ok"))) as endpoint:
        check = check_http(endpoint, "/", from_node(fleet), 5.0)
    assert check.state == "unknown"
    assert check.reason is not None
    assert check.reason.startswith("cannot look from front: ")


def test_a_slow_login_does_not_make_a_healthy_service_look_dead() -> None:
    def dial(endpoint: Endpoint, timeout_s: float) -> Socket:
        threading.Event().wait(0.5)
        return socket.create_connection((endpoint.address, endpoint.port), timeout_s)

    with scripted(answering(http(b"ok"))) as endpoint:
        assert check_http(endpoint, "/", dial, 0.4).state == "up"
