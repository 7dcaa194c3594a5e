"""Ports of 127.0.0.1 for the lab.

They lie below the range that systems hand out for outgoing connections: a stopped service keeps
its port, and a client that keeps dialling a closed port never ends up connected to itself.
"""

import random
import socket

from kome_tui.errors import LabError

LOOPBACK = "127.0.0.1"

_LOW, _HIGH = 20_000, 32_000
_TRIES = 200
_random = random.SystemRandom()


def reserve(port: int | None = None) -> socket.socket:
    """A socket bound to `port`, or to a free one, not yet listening: connecting is refused.

    Raises LabError when there is no free port, OSError when `port` is taken.
    """
    if port is not None:
        return _bind(port, again=True)
    for _ in range(_TRIES):
        candidate = _random.randrange(_LOW, _HIGH)
        if answers(candidate):  # BSD lets an address be bound beside a listener on all of them
            continue
        try:
            return _bind(candidate, again=False)
        except OSError:
            continue
    raise LabError(f"no free port found between {_LOW} and {_HIGH} on {LOOPBACK}")


class HeldPort:
    """A free port for a process that binds it itself: ours until just before that one starts."""

    def __init__(self) -> None:
        self._bound = reserve()
        self.number = port_of(self._bound)

    def release(self) -> None:
        """Let the process have it. Releasing twice is harmless."""
        self._bound.close()


def port_of(bound: socket.socket) -> int:
    """The port a socket is bound to."""
    port = bound.getsockname()[1]
    assert isinstance(port, int)
    return port


def answers(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _bind(port: int, *, again: bool) -> socket.socket:
    """`again`: we had the port before, and what its old connections left must not matter.

    For a new port that would be wrong: two sockets that reuse may both bind it, until one listens.
    """
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(again))
        bound.bind((LOOPBACK, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # inherited by connections
        # Its connections inherit this: without it, one still open would keep us from binding again.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound
