"""What every test stands on: no traffic leaves loopback, and no user's files are touched."""

import ipaddress
import signal
import socket
from pathlib import Path

import pytest

pytest_plugins = (
    "tests.workers",
    "tests.lab_fixture",
    "tests.nginx_fixture",
    "tests.node_fixture",
    "tests.machines.fixtures",
)

# A shell's background job ignores Ctrl-C, and hands that down to the programs that are tested here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_REAL_CONNECT = socket.socket.connect
_REAL_CONNECT_EX = socket.socket.connect_ex
_REAL_SENDTO = socket.socket.sendto


class OutsideConnection(AssertionError):
    """A test tried to talk to something that is not loopback."""


def _refuse_outside(address: object) -> None:
    if not isinstance(address, tuple):
        return  # a Unix socket
    host = str(address[0]).partition("%")[0]
    try:
        allowed = ipaddress.ip_address(host).is_loopback
    except ValueError:
        allowed = host == "localhost"
    if not allowed:
        raise OutsideConnection(f"a test tried to reach {address!r}")


def _connect(self: socket.socket, address: object) -> None:
    _refuse_outside(address)
    _REAL_CONNECT(self, address)  # type: ignore[arg-type]


def _connect_ex(self: socket.socket, address: object) -> int:
    _refuse_outside(address)
    return _REAL_CONNECT_EX(self, address)  # type: ignore[arg-type]


def _sendto(self: socket.socket, data: bytes, *rest: object) -> int:
    _refuse_outside(rest[-1])
    return _REAL_SENDTO(self, data, *rest)  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def only_loopback() -> None:
    """Makes a connection to anything but loopback fail, in this process."""
    socket.socket.connect = _connect  # type: ignore[method-assign,assignment]
    socket.socket.connect_ex = _connect_ex  # type: ignore[method-assign,assignment]
    socket.socket.sendto = _sendto  # type: ignore[method-assign,assignment]


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder, so that nobody's ssh configuration or topology takes part."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        patch.delenv(name, raising=False)
    for name in ("SSH_AUTH_SOCK", "KOME_TOPOLOGY", "KOME_DEBUG"):
        patch.delenv(name, raising=False)
    return home
