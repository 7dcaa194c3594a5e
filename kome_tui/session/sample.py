"""One sample of everything, for the command line: all at the same time, and over by a deadline.

What has not answered by then is told as such and left alone: its thread is a daemon, and ends when
the caller closes the fleet.
"""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from kome_tui.errors import KomeError
from kome_tui.reading import Missing, Reading
from kome_tui.session.fleet_api import FleetApi, NodeApi
from kome_tui.session.looks import Look, frontend_looks, operator_looks
from kome_tui.session.node_watch import BACKLOG_BYTES, FACTS_S
from kome_tui.session.readings import after_error, unanswered, words_of
from kome_tui.session.threads import spawn
from kome_tui.session.wanted import wanted_ids
from kome_tui.signals.probe import GRACE_S, run_probe, targets_for
from kome_tui.signals.readings import Traffic
from kome_tui.signals.traffic import TrafficWindow
from kome_tui.state import (
    ConsoleState,
    Event,
    FactsSeen,
    LogEntry,
    Noted,
    ProbeSeen,
    SshSeen,
    TrafficSeen,
    apply,
    first_state,
)
from kome_tui.topology.model import Topology

SSH_S = 3.0
"""A node that has not let us in by then is silent; a login takes 0.1 s."""
PROBE_PATHS = ("frontend", "okome", "gpu")


def sample_once(
    topology: Topology,
    source: str,
    fleet: FleetApi,
    *,
    deadline_s: float = 4.0,
    probe_tokens: int | None,
    command: str = "kome-tui",
) -> ConsoleState:
    """Ask everything once. Returns after `deadline_s` seconds at most, and raises no KomeError.

    `probe_tokens`: length of a stream probe made meanwhile, None for none. `command`: as in
    ConsoleState.
    """
    sample = _Sample(topology, fleet, deadline_s)
    sample.start(probe_tokens)
    state = first_state(topology, source, wanted_ids(topology), now=time.time(), command=command)
    for event in sample.events():
        state = apply(state, event)
    for event in unanswered(state, deadline_s, min(SSH_S, deadline_s), time.time()):
        state = apply(state, event)
    return state


@dataclass(frozen=True, slots=True)
class _Told:
    """What a job found out; `more` comes."""

    job: str
    events: tuple[Event, ...]
    more: bool = False


class _Sample:
    """The jobs of one sample, and the queue they answer through."""

    def __init__(self, topology: Topology, fleet: FleetApi, deadline_s: float) -> None:
        self._topology = topology
        self._fleet = fleet
        self._deadline_s = deadline_s
        self._deadline = time.monotonic() + deadline_s
        self._login_deadline = min(self._deadline, time.monotonic() + SSH_S)
        self._told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
        self._pending: set[str] = set()
        self._logging_in: set[str] = set()
        self._frontend_asked = threading.Event()
        self._frontend_is_in = False
        self._over = threading.Event()

    def start(self, probe_tokens: int | None) -> None:
        """Start every job."""
        for name in self._topology.nodes:
            self._logging_in.add(f"node {name}")
            self._start(f"node {name}", partial(self._node, name))
        for look in operator_looks(self._topology):
            self._start(look.name, partial(self._look, look))
        for look in frontend_looks(self._topology, self._fleet):
            self._start(look.name, partial(self._look_from_frontend, look))
        if probe_tokens is not None:
            self._start("probe", partial(self._probe, probe_tokens))

    def events(self) -> Iterator[Event]:
        """What the jobs tell, until all have ended or the time is over."""
        while self._pending:
            until = self._login_deadline if self._pending <= self._logging_in else self._deadline
            try:
                told = self._told.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            self._logging_in.discard(told.job)
            if not told.more:
                self._pending.discard(told.job)
            yield from told.events
        self._over.set()

    def _start(self, job: str, work: partial[None]) -> None:
        self._pending.add(job)
        spawn(job, work, partial(self._failed, job))

    def _failed(self, job: str, words: str) -> None:
        self._told.put(_Told(job, (Noted(LogEntry(time.time(), "error", "console", words)),)))

    def _look(self, look: Look) -> None:
        at = time.time()
        self._told.put(_Told(look.name, (look.event(Reading(look.ask(), at)),)))

    def _look_from_frontend(self, look: Look) -> None:
        self._frontend_asked.wait(max(0.0, self._login_deadline - time.monotonic()))
        if self._frontend_is_in:
            self._look(look)
            return
        gone = Missing(f"no SSH to {self._topology.frontend}")
        self._told.put(_Told(look.name, (look.event(Reading(gone, time.time())),)))

    def _node(self, name: str) -> None:
        job = f"node {name}"
        try:
            self._log_in(name)
            self._told.put(_Told(job, (SshSeen(name, Reading("ok", time.time()), None),), True))
            client = self._fleet.node(name)
            self._told.put(_Told(job, (_first_facts(name, client),), True))
            self._told.put(_Told(job, (_traffic(name, client),)))
        except KomeError as error:
            self._told.put(_Told(job, after_error(name, error, time.time())))

    def _log_in(self, name: str) -> None:
        try:
            self._fleet.connect(name)
            self._frontend_is_in |= name == self._topology.frontend
        finally:
            if name == self._topology.frontend:
                self._frontend_asked.set()

    def _probe(self, tokens: int) -> None:
        targets = targets_for(self._topology, PROBE_PATHS)
        limit_s = max(0.5, self._deadline_s - GRACE_S)
        result = run_probe(targets, tokens, limit_s, stop=self._over)
        self._told.put(_Told("probe", (ProbeSeen(Reading(result, time.time())),)))


def _first_facts(name: str, client: NodeApi) -> Event:
    frames = client.facts(FACTS_S)
    try:
        return FactsSeen(name, Reading(next(frames), time.time()))
    finally:
        frames.close()


def _traffic(name: str, client: NodeApi) -> Event:
    """The windows from the log that exists."""
    now = time.time()
    try:
        window = TrafficWindow(name)
        window.feed(client.read_log(BACKLOG_BYTES), now, backlog=True)
    except KomeError as error:
        failed: Reading[Traffic] = Reading(Missing(words_of(error)), now)
        return TrafficSeen(name, failed)
    return TrafficSeen(name, Reading(window.traffic(now), now))
