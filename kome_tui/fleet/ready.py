"""Scripts that wait on a node: one started ahead of a push, one between two steps of a push.

Starting one is a third of what finding out costs that nothing has changed. A script that was
started ahead holds nothing on the node, and ends with the connection.
"""

import threading
import time

from kome_tui.errors import NodeTimeout
from kome_tui.fleet.connection import Connection
from kome_tui.fleet.framing import AnswerParser, End, FramingError, Item, encode_request
from kome_tui.fleet.remote import RemoteCommand

_VERB = "ready"


class Ready:
    """The script that waits on one node for the first step of a push, or nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._starting = False
        self._kept: tuple[RemoteCommand, float] | None = None

    def keep(self, connection: Connection, command: str) -> None:
        """Start one, unless one waits; does not wait for its word. Raises as Connection.start()."""
        with self._lock:
            if self._starting or (self._kept is not None and not self._kept[0].ended):
                return
            self._starting = True
            stale, self._kept = self._kept, None
        if stale is not None:
            stale[0].close()
        try:  # unlocked: a push does not wait for it
            request = encode_request(_VERB, {"more": "yes"})
            remote = connection.start(command, request, keep_stdin=True)
            remote.send()
            self._kept = remote, connection.session_open_s
        finally:
            self._starting = False

    def take(self) -> tuple[RemoteCommand, float] | None:
        """It, for the caller alone, and the seconds in which its next word is due.

        None where none waits, or what waited is no script that knows this. Raises NodeTimeout
        where it has not come so far, on a node that hangs.
        """
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None:
            return None
        remote, patience_s = kept
        try:
            if _has_said_so(remote, time.monotonic() + patience_s) and not remote.ended:
                return kept
        except NodeTimeout as error:
            remote.close()
            raise silent(remote.node, patience_s) from error
        remote.close()
        return None


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


def silent(node: str, patience_s: float) -> NodeTimeout:
    """The error for a script that was started ahead and says nothing."""
    return NodeTimeout(node, f"does not answer: its script has said nothing in {patience_s:.0f} s")


def _has_said_so(remote: RemoteCommand, deadline: float) -> bool:
    parser = AnswerParser(_VERB)
    items: list[Item] = []
    while not parser.ended:
        received = remote.read(deadline)
        if not received:
            return False
        try:
            items += parser.feed(received)
        except FramingError:
            return False
    end = items[-1]
    return isinstance(end, End) and end.code == "ok"
