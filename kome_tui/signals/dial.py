"""Opens a TCP connection from a vantage point: this laptop, or a node through its SSH connection.

A dial raises OSError (a node: ForwardFailed) where the endpoint could not be reached, and any other
KomeError where the vantage point could not look. Keep them apart: "down" is not "unknown".
"""

import errno
import re
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from kome_tui.errors import FleetError, ForwardFailed, ForwardForbidden, KomeError
from kome_tui.signals.readings import Check, UpstreamState
from kome_tui.text import CELL_LIMIT, clean
from kome_tui.topology.model import Endpoint

BYTE_LIMIT = 256 * 1024
"""The most a check reads; a service that sends more is not read to its end."""

_BLIND = {
    errno.ENETUNREACH: "no network here",
    errno.ENETDOWN: "no network here",
    errno.EADDRNOTAVAIL: "no address here to connect from",
    errno.EACCES: "not permitted here",
    errno.EPERM: "not permitted here",
    errno.EMFILE: "too many open files here",
}
_NODE_WORDS = {
    "refused": "refused",
    "no route": "no route",
    "unreachable": "no route",
    "timed out": "timed out after {timeout_s:g} s",
    "no answer": "timed out after {timeout_s:g} s",
}
"""What an SSH server says of a connection it could not open, in the words used here."""
_GONE = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no route",
    errno.EHOSTDOWN: "no route",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EPIPE: "connection reset",
}


class Socket(Protocol):
    """What a check needs of a connection; a socket and a paramiko channel both have it."""

    def recv(self, nbytes: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def settimeout(self, timeout: float | None, /) -> None: ...
    def close(self) -> None: ...


Dial = Callable[[Endpoint, float], Socket]
"""(endpoint, timeout in seconds) -> a connection."""


def direct(endpoint: Endpoint, timeout_s: float) -> Socket:
    """Connect from this machine. Raises OSError."""
    connection = socket.create_connection((endpoint.address, endpoint.port), timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class NoAnswer(TimeoutError):
    """The connection stood, but what was asked was not answered in time."""


class Line:
    """A connection under one deadline and one limit of bytes, whoever reads from it.

    Raises NoAnswer when the time is over and OSError when more than BYTE_LIMIT came. `asked_at`
    is when the last bytes went out (monotonic seconds), `received` how many bytes came.
    """

    def __init__(self, connection: Socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self.received = 0
        self.asked_at = time.monotonic()

    def recv(self, nbytes: int, /) -> bytes:
        if self.received >= BYTE_LIMIT:
            raise OSError("sends without end")
        self._arm()
        try:
            part = self._connection.recv(nbytes)
        except TimeoutError as error:
            raise NoAnswer from error
        self.received += len(part)
        return part

    def sendall(self, data: bytes, /) -> None:
        self._arm()
        try:
            self._connection.sendall(data)
        except TimeoutError as error:
            raise NoAnswer from error
        self.asked_at = time.monotonic()

    def settimeout(self, timeout: float | None, /) -> None:
        """Nothing: the deadline counts, and no library may lengthen it."""

    def shutdown(self, how: int, /) -> None:
        """Nothing: close() ends the connection (redis-py asks for both)."""

    def close(self) -> None:
        self._connection.close()

    def waited_ms(self) -> float:
        """Milliseconds since the last bytes went out."""
        return (time.monotonic() - self.asked_at) * 1000

    def __enter__(self) -> "Line":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _arm(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise NoAnswer
        self._connection.settimeout(left_s)


class OnlyReached(KomeError):
    """The vantage point could connect, in `ms`, but cannot lend us the connection."""

    def __init__(self, endpoint: Endpoint, ms: float) -> None:
        self.ms = ms
        super().__init__(f"{endpoint} accepts connections; no more can be asked from here")


def opened(dial: Dial, endpoint: Endpoint, timeout_s: float) -> Line:
    """Dial, and put the connection under a deadline that began before dialling.

    Half of the time is left for the answer in any case: a node that had to be connected to over
    SSH first must not make a healthy service look dead.
    """
    began = time.monotonic()
    connection = dial(endpoint, timeout_s)
    return Line(connection, max(began + timeout_s, time.monotonic() + timeout_s / 2))


def failed(error: KomeError | OSError, timeout_s: float) -> Check:
    """The check that ended in `error`: what to call the service, and why."""
    if isinstance(error, OnlyReached):
        return Check("up", error.ms, None, None, {"body": "accepts connections"})
    state, reason = _state_and_reason(error, timeout_s)
    return Check(state, None, reason)


def _state_and_reason(error: KomeError | OSError, timeout_s: float) -> tuple[UpstreamState, str]:
    match error:
        case ForwardForbidden():
            return "unknown", f"forwarding forbidden by the sshd of {error.node}"
        case ForwardFailed():
            return "down", _in_our_words(error.reason, timeout_s)
        case FleetError():
            return "unknown", f"cannot look from {error.node}: {error.what}"
        case KomeError():
            return "unknown", f"cannot look: {error.what}"
        case NoAnswer():
            return "down", f"connected, but no answer within {timeout_s:g} s"
        case TimeoutError():
            return "down", f"timed out after {timeout_s:g} s"
        case OSError(errno=number) if number in _BLIND:
            return "unknown", _BLIND[number]
        case OSError(errno=number) if number in _GONE:
            return "down", _GONE[number]
    return "down", clean(error.strerror or str(error) or type(error).__name__, CELL_LIMIT)


def _in_our_words(said: str, timeout_s: float) -> str:
    number = re.search(r"\[Errno (\d+)\]", said)  # a server written in Python
    if number and int(number[1]) in _GONE:
        return _GONE[int(number[1])]
    for theirs, ours in _NODE_WORDS.items():
        if theirs in said.lower():
            return ours.format(timeout_s=timeout_s)
    return said
