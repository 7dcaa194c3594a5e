"""The Redis check against redis-server, fakeredis's TCP server and scripted nonsense."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fakeredis
import pytest

from kome_tui.signals.dial import direct
from kome_tui.signals.readings import Check
from kome_tui.signals.redis_check import PASSWORD_VARIABLE, check_redis
from kome_tui.topology.model import Endpoint
from tests.signals_servers import answering, closed_port, scripted, silent
from tests.waiting import wait_until

PASSWORD = "canary-3f9a-secret"


def state_of(check: Check) -> tuple[str, str | None]:
    return check.state, check.reason


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[Endpoint]:
    program = shutil.which("redis-server")
    assert program, "install redis-server"
    endpoint = closed_port()
    base = ["--port", str(endpoint.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([program, *base, *options], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(endpoint))
            yield endpoint
        finally:
            process.terminate()


def answers(endpoint: Endpoint) -> bool:
    try:
        socket.create_connection((endpoint.address, endpoint.port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)


def test_a_real_redis_is_up(tmp_path: Path) -> None:
    with redis_server(tmp_path) as endpoint:
        check = check_redis(endpoint, direct, 2.0)
    assert state_of(check) == ("up", None)
    assert check.latency_ms is not None
    assert 0 < check.latency_ms < 500


def test_a_password_that_the_redis_does_not_want_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    with redis_server(tmp_path) as endpoint:
        assert state_of(check_redis(endpoint, direct, 2.0)) == ("up", None)


def test_a_redis_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server(tmp_path, "--requirepass", PASSWORD) as endpoint:
        without = check_redis(endpoint, direct, 2.0)
        monkeypatch.setenv(PASSWORD_VARIABLE, "canary-wrong")
        wrong = check_redis(endpoint, direct, 2.0)
        monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
        right = check_redis(endpoint, direct, 2.0)
    assert state_of(without) == ("degraded", "needs a password: set KOME_REDIS_PASSWORD")
    assert state_of(wrong) == ("degraded", "does not accept the password of KOME_REDIS_PASSWORD")
    assert state_of(right) == ("up", None)


def test_fakeredis_is_up() -> None:
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        endpoint = Endpoint(address="127.0.0.1", port=server.server_address[1])
        assert state_of(check_redis(endpoint, direct, 2.0)) == ("up", None)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_dead_redis_is_down() -> None:
    assert state_of(check_redis(closed_port(), direct, 2.0)) == ("down", "refused")


def test_a_silent_redis_is_down_at_the_deadline() -> None:
    with scripted(silent) as endpoint:
        began = time.monotonic()
        check = check_redis(endpoint, direct, 0.3)
        assert time.monotonic() - began < 0.8
    assert state_of(check) == ("down", "connected, but no answer within 0.3 s")


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (b"-LOADING Redis is loading the dataset\r\n", "degraded", "is loading its data"),
        (
            b"-MISCONF no \x1b[2J disk\r\n",
            "degraded",
            "answered an error: MISCONF no \\x1b[2J disk",
        ),
        (b"-ERR max number of clients reached\r\n", "degraded", "has no room for more clients"),
        (b"+QUEUED\r\n", "degraded", "answered QUEUED to PING"),
        (b"", "down", "closed the connection without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "down", "does not answer like a Redis"),
        (b"*1\r\n" * 20_000, "down", "does not answer like a Redis"),
        (b":" + b"9" * 9000 + b"\r\n", "down", "does not answer like a Redis"),
        (b"$abc\r\n", "down", "does not answer like a Redis"),
        (b"x" * 1_000_000, "down", "does not answer like a Redis"),
        (b"$900000000\r\n" + b"x" * 1_000_000, "down", "does not answer like a Redis"),
    ],
)
def test_other_replies(answer: bytes, state: str, reason: str) -> None:
    with scripted(answering(answer)) as endpoint:
        assert state_of(check_redis(endpoint, direct, 2.0)) == (state, reason)


def test_an_echoed_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)

    def echo(connection: socket.socket) -> None:
        said = connection.recv(65536).replace(b"\r\n", b" ")
        connection.sendall(b"-EVIL " + said + b"\r\n")

    with scripted(echo) as endpoint:
        check = check_redis(endpoint, direct, 2.0)
    assert check.state == "degraded"
    assert PASSWORD not in repr(check)
    assert "***" in repr(check)
