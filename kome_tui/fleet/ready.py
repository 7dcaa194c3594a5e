"""Scripts that wait on a node: one started ahead of a push, one between two steps of a push.

Starting one is a third of what finding out costs that nothing has changed. A script that was
started ahead holds nothing on the node, and ends with the connection.
"""

import threading
import time

from kome_tui.errors import FleetError, NodeTimeout
from kome_tui.fleet.connection import Connection
from kome_tui.fleet.framing import AnswerParser, End, FramingError, Item, encode_request
from kome_tui.fleet.remote import RemoteCommand

_VERB = "ready"
_AT_HAND_S = 0.05
"""For a word that has come already."""
_STARTS_S = 2.0
_LEAVES_S = 1.0


class Ready:
    """The script that waits on one node for the first step of a push, or nothing.

    On a connection on which it once did not work it is not tried again: pushes start their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[RemoteCommand, Connection] | None = None
        self._starting = False
        self._failed_on: Connection | None = None

    def keep(self, connection: Connection, command: str) -> None:
        """Start one, unless one waits; does not wait for its word, and raises nothing."""
        with self._lock:
            kept = self._kept
            if kept is not None and kept[0].ended:  # it does not know the verb, or was killed
                self._kept = None
                self._failed_on = kept[1]
            if self._starting or self._kept is not None or self._failed_on is connection:
                return
            self._starting = True
        started: RemoteCommand | None = None
        try:  # unlocked: a push does not wait for it
            request = encode_request(_VERB, {"more": "yes"})
            started = connection.start(command, request, keep_stdin=True)
            started.send(time.monotonic() + _STARTS_S)
        except FleetError:
            pass  # the push that comes starts its own, and says what is wrong
        finally:
            with self._lock:
                self._starting = False
                self._kept = (started, connection) if started is not None else None
                self._failed_on = None if started is not None else connection

    def take(self) -> tuple[RemoteCommand, float] | None:
        """It, for the caller alone, and the seconds in which its next word is due.

        None where none waits that has said so.
        """
        kept = self._taken()
        if kept is None:
            return None
        remote, connection = kept
        if _has_said_so(remote) and not remote.ended:
            return remote, connection.session_open_s
        remote.close()
        return None

    def leave(self) -> bool:
        """End it, for its session on the node to be had by others; False: none waited."""
        kept = self._taken()
        if kept is None:
            return False
        remote, connection = kept
        with self._lock:
            self._failed_on = connection
        deadline = time.monotonic() + _LEAVES_S
        remote.feed(b"", keep_stdin=False)
        try:
            while remote.read(deadline):
                pass
        except NodeTimeout:
            pass  # closing it has to do
        remote.close()
        return True

    def _taken(self) -> tuple[RemoteCommand, Connection] | None:
        with self._lock:
            kept, self._kept = self._kept, None
            return kept


class Waiting:
    """The script of one node that waits for the next step of a push, or nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._remote: RemoteCommand | None = None

    def take(self) -> RemoteCommand | None:
        """It, for the caller alone."""
        with self._lock:
            remote, self._remote = self._remote, None
            return remote

    def put(self, remote: RemoteCommand) -> None:
        """Keep it for the next step; one that was kept before is ended."""
        with self._lock:
            before, self._remote = self._remote, remote
        if before is not None:
            before.close()


def _has_said_so(remote: RemoteCommand) -> bool:
    deadline = time.monotonic() + _AT_HAND_S
    parser = AnswerParser(_VERB)
    items: list[Item] = []
    try:
        while not parser.ended:
            received = remote.read(deadline)
            if not received:
                return False
            items += parser.feed(received)
    except (FramingError, NodeTimeout):
        return False
    end = items[-1]
    return isinstance(end, End) and end.code == "ok"
