"""Watches one node over SSH: its facts in one thread, its access log in another.

The log thread waits for the facts thread's connection, so that a dead node is dialled by one of
them only. A followed log goes on where it was after a reconnect: no line is counted twice.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from kome_tui.errors import KomeError
from kome_tui.fleet.answers import LogChunk
from kome_tui.reading import Missing, Reading
from kome_tui.session.fleet_api import FleetApi
from kome_tui.session.readings import after_error, end_of, ssh_state, wait_s, words_of
from kome_tui.signals.traffic import TrafficWindow
from kome_tui.state import Event, FactsSeen, TrafficSeen
from kome_tui.triage.model import SshState

FACTS_S = 2.0
BACKLOG_BYTES = 1024 * 1024
QUIET_NEWS_S = 5.0
"""Windows move on without new lines, too."""
LOG_RETRY_S = 2.0


class Put(Protocol):
    """Hands events over."""

    def __call__(self, *events: Event) -> None: ...


class NodeWatch:
    """One node's two threads, and what its log said so far."""

    def __init__(
        self,
        node: str,
        fleet: FleetApi,
        clock: Callable[[], float],
        stop: threading.Event,
        put: Put,
        ahead: bool = True,
    ) -> None:
        """`ahead`: a push may come, so the script that it will ask is kept waiting on the node."""
        self.node = node
        self._fleet = fleet
        self._clock = clock
        self._stop = stop
        self._put = put
        self._linked = threading.Event()
        """Set while facts arrive."""
        self._log = _Log(node)
        self._ahead = ahead

    def watch_facts(self) -> None:
        """Connect, read facts, and connect again, until stopped."""
        failures = 0
        while not self._stop.is_set():
            state: SshState | None = None
            try:
                self._read_facts()
            except KomeError as error:
                state = ssh_state(error)
                self._put(*after_error(self.node, error, self._clock()))
            failures = 0 if self._linked.is_set() else failures + 1
            if not self._stop.is_set():  # else it would undo wake()
                self._linked.clear()
            self._stop.wait(wait_s(failures, state))

    def follow_log(self) -> None:
        """Count the access log, until stopped."""
        while not self._stop.is_set():
            if not self._linked.wait(1.0) or self._stop.is_set():
                continue
            try:
                self._read_log()
            except KomeError as error:
                self._log.fails(words_of(error))
            self._stop.wait(LOG_RETRY_S if self._linked.is_set() else 0)

    def traffic_news(self) -> tuple[Event, ...]:
        """The counts, if there is anything new about them."""
        if not self._linked.is_set():
            return ()
        return self._log.news(self._clock())

    def wake(self) -> None:
        """Let a thread that waits for the connection see that it is to stop."""
        self._linked.set()

    def _read_facts(self) -> None:
        self._fleet.connect(self.node)
        frames = self._fleet.node(self.node).facts(FACTS_S)
        try:
            for facts in frames:
                self._put(FactsSeen(self.node, Reading(facts, self._clock())))
                self._linked.set()
                if self._ahead:
                    self._fleet.node(self.node).make_ready()
        finally:
            frames.close()

    def _read_log(self) -> None:
        client = self._fleet.node(self.node)
        if self._log.position is None:
            self._log.backlog(client.read_log(BACKLOG_BYTES), self._clock())
        inode, offset = self._log.position or (None, 0)
        chunks = client.follow(inode, offset)
        try:
            for chunk in chunks:
                self._log.follows(chunk, self._clock())
                if self._stop.is_set():
                    return
        finally:
            chunks.close()


class _Log:
    """A node's counts, fed by one thread and read by another."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._window = TrafficWindow(node)
        self._failure: Missing | None = None
        self._news = False
        self._told_at = 0.0
        self._read = False
        self.position: tuple[int, int] | None = None
        """Inode and offset of what was read last; None: nothing was followed yet."""

    def backlog(self, data: bytes, now: float) -> None:
        with self._lock:
            if not self._read:
                self._window.feed(data, now, backlog=True)
            self._window.cut()
            self._read, self._news, self._failure = True, True, None

    def follows(self, chunk: LogChunk, now: float) -> None:
        with self._lock:
            if self.position is not None and self.position != (chunk.inode, chunk.offset):
                self._window.cut()
            self._window.feed(chunk.data, now)
            self.position = end_of(chunk)
            self._read, self._news, self._failure = True, True, None

    def fails(self, why: str) -> None:
        with self._lock:
            self._failure = Missing(why)
            self._news = True

    def news(self, now: float) -> tuple[Event, ...]:
        with self._lock:
            if not self._news and now - self._told_at < QUIET_NEWS_S:
                return ()
            self._news, self._told_at = False, now
            if self._failure is not None:
                return (TrafficSeen(self._node, Reading(self._failure, now)),)
            if not self._read:
                return ()
            return (TrafficSeen(self._node, Reading(self._window.traffic(now), now)),)
