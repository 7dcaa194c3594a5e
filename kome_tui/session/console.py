"""The session behind the console: samplers and pushes in threads, one thread that folds.

Everything a thread finds out goes through one queue to the folding thread, which alone changes
`state` and calls `emit`: so events arrive in the order in which they were applied.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from kome_tui.errors import KomeError
from kome_tui.reading import Missing, Reading
from kome_tui.release.deploy import deploy
from kome_tui.release.fleet_api import Report
from kome_tui.release.outcome import Progress, PushReport
from kome_tui.release.plan import NodePlan, of_fleet, plan
from kome_tui.release.rollback import rollback, ways_back
from kome_tui.session.fleet_api import FleetApi
from kome_tui.session.looks import (
    CHECK_S,
    Round,
    frontend_looks,
    no_frontend_looks,
    operator_looks,
)
from kome_tui.session.node_watch import NodeWatch
from kome_tui.session.readings import silent_nodes
from kome_tui.session.sample import PROBE_PATHS
from kome_tui.session.threads import join_all, spawn
from kome_tui.session.topology_watch import TopologyWatch
from kome_tui.session.wanted import wanted_ids
from kome_tui.signals.probe import run_probe, targets_for
from kome_tui.signals.readings import ProbeResult
from kome_tui.state import (
    ConsoleState,
    Diagnosed,
    Event,
    FileStamp,
    LogEntry,
    Noted,
    PlanSeen,
    ProbeSeen,
    ProbeStarted,
    PushEnded,
    PushStarted,
    PushStep,
    TopologySeen,
    apply,
    evidence_of,
    first_state,
)
from kome_tui.text import for_fleet
from kome_tui.topology.model import Topology
from kome_tui.triage.engine import diagnose

ROUND_S = 2.0
FILE_S = 0.5
"""How often the topology file is looked at."""
TRAFFIC_S = 0.5
"""At most two traffic readings per second and node."""
STOP_S = 3.0
TAKE_BACK_S = 1.5
"""Of STOP_S, what a push gets to take its trials back; later the nodes do it by themselves."""
RESTART_S = 5.0
"""A sampler that ended by surprise starts anew after this: one bad answer must not blind us."""
PROBE_TOKENS = 96
TRIAGE_TOKENS = 48
PROBE_S = 60.0


class Session:
    """Samples a fleet, pushes to it, and holds the state. Every call is safe from any thread."""

    def __init__(
        self,
        topology: Topology,
        source: str,
        fleet: FleetApi,
        *,
        is_lab: bool,
        read_only: bool,
        file: Path | None = None,
        clock: Callable[[], float] = time.time,
        command: str = "kome-tui",
    ) -> None:
        """`file`: where the topology was read from, to be read anew when it is edited.

        `command`: as in ConsoleState.
        """
        self.state: ConsoleState = first_state(
            topology,
            source,
            wanted_ids(topology),
            is_lab=is_lab,
            read_only=read_only,
            now=clock(),
            command=command,
        )
        self._file = TopologyWatch(file, topology) if file is not None else None
        self.state = replace(self.state, file_stamp=self.file_stamp())
        self._fleet = fleet
        self._clock = clock
        self._emit: Callable[[Event], None] = lambda event: None
        self._inbox: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._hurry = threading.Event()
        """Set to have the next round of checks at once."""
        self._round = Round(clock, self._note_error)
        self._lock = threading.Lock()
        """Over the starting of pushes and probes, and over _threads."""
        self._push: _Push | None = None
        self._probing = False
        self._threads: list[threading.Thread] = []
        self._watches = tuple(
            NodeWatch(name, fleet, clock, self._stop, self._put, ahead=not read_only)
            for name in topology.nodes
        )

    @property
    def topology(self) -> Topology:
        """The topology of the newest state."""
        return self.state.topology

    def start(self, emit: Callable[[Event], None]) -> None:
        """Start sampling. `emit` is called from one thread, in the order of the events."""
        self._emit = emit
        self._spawn("fold", self._fold)
        self._spawn("checks", self._check)
        self._spawn("file", self._watch_file)
        self._spawn("traffic", self._tell_traffic)
        for watch in self._watches:
            self._spawn(f"facts-{watch.node}", watch.watch_facts)
            self._spawn(f"log-{watch.node}", watch.follow_log)

    def stop(self) -> None:
        """End every thread, in STOP_S at most; a running trial is taken back. Harmless twice."""
        deadline = time.monotonic() + STOP_S
        self._stop.set()
        push = self._push
        if push is not None:
            push.stop.set()
            join_all([push.thread], deadline - (STOP_S - TAKE_BACK_S))
        self._spawn("close", self._fleet.close)
        self._hurry.set()
        for watch in self._watches:
            watch.wake()
        self._inbox.put(None)
        join_all((*self._threads, *self._round.threads), deadline)

    def deploy(self, nodes: tuple[str, ...], accept_drift: bool = False) -> bool:
        """Start a push. False: one runs already, or this session is read-only."""

        def push(report: Report, stop: threading.Event) -> PushReport:
            return deploy(
                self.topology,
                self._fleet,
                nodes,
                accept_drift=accept_drift,
                report=report,
                stop=stop,
            )

        return self._start_push("deploy", nodes, push)

    def rollback(
        self, nodes: tuple[str, ...], to: str | None = None, accept_drift: bool = False
    ) -> bool:
        """Start going back to `to`, or to the previous release. False as for deploy."""

        def push(report: Report, stop: threading.Event) -> PushReport:
            return rollback(
                self.topology,
                self._fleet,
                nodes,
                to=to,
                accept_drift=accept_drift,
                report=report,
                stop=stop,
            )

        return self._start_push("rollback", nodes, push)

    def file_stamp(self) -> FileStamp:
        """The version of the topology file that is on the disk now; quick."""
        return self._file.stamp() if self._file is not None else None

    def stop_push(self) -> None:
        """Stop the waves of the running push and take its trials back."""
        push = self._push
        if push is not None:
            push.stop.set()

    def probe(self) -> bool:
        """Start a stream probe. False: one runs already."""
        return self._start_probe(PROBE_TOKENS)

    def triage(self) -> bool:
        """Start a short stream probe and a round of every check. False: one runs already."""
        self._hurry.set()
        return self._start_probe(TRIAGE_TOKENS)

    def plan(self, nodes: tuple[str, ...]) -> Mapping[str, NodePlan]:
        """What a push would change. Blocks; raises KomeError."""
        found = plan(self.topology, self._fleet, nodes)
        self._put(PlanSeen(self._clock()))
        return of_fleet(found, self.state.command)

    def ways_back(self, nodes: tuple[str, ...]) -> Mapping[str, str]:
        """From where to where a rollback would take each node, in words. Blocks."""
        ways = ways_back(self.topology, self._fleet, nodes)
        return {name: for_fleet(way, self.state.command) for name, way in ways.items()}

    # Threads. Each is a short loop; what it finds goes to the inbox.

    def _fold(self) -> None:
        while (batch := self._inbox.get()) is not None and not self._stop.is_set():
            for event in batch.events:
                self._take(event)
            if batch.diagnose:
                found = diagnose(evidence_of(self.state))
                if not found.findings and _nothing_asked(self.state):
                    continue  # at the start: "healthy" would be a guess, "degraded" a false alarm
                self._take(Diagnosed(Reading(found, self._clock())))

    def _take(self, event: Event) -> None:
        self.state = apply(self.state, event)
        self._emit(event)

    def _check(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self._put(*self._one_round(), diagnose=True)
            self._hurry.wait(max(0.0, began + ROUND_S - time.monotonic()))
            self._hurry.clear()

    def _watch_file(self) -> None:
        while not self._stop.wait(FILE_S):
            self._put(*self._file_news())

    def _file_news(self) -> tuple[Event, ...]:
        news = self._file.news() if self._file is not None else None
        if news is None:
            return ()
        wanted = wanted_ids(news.topology) if news.topology is not None else {}
        return (TopologySeen(self._clock(), news.topology, wanted, news.problem, news.stamp),)

    def _one_round(self) -> tuple[Event, ...]:
        looks = operator_looks(self.topology)
        frontend = self.state.nodes[self.topology.frontend]
        instead: tuple[Event, ...] = ()
        if frontend.ssh.or_none() == "ok":
            looks += frontend_looks(self.topology, self._fleet)
        else:
            why = f"no SSH to {frontend.name}"
            instead = no_frontend_looks(self.topology, why, self._clock())
        events = self._round.run(looks, CHECK_S + 0.5)
        return events + instead + silent_nodes(self.state, self._clock())

    def _tell_traffic(self) -> None:
        while not self._stop.wait(TRAFFIC_S):
            self._put(*(event for watch in self._watches for event in watch.traffic_news()))

    def _start_push(
        self,
        what: Literal["deploy", "rollback"],
        nodes: tuple[str, ...],
        work: Callable[[Report, threading.Event], PushReport],
    ) -> bool:
        with self._lock:
            if self._push is not None or self.state.read_only or not nodes or self._stop.is_set():
                return False
            stop = threading.Event()
            self._put(PushStarted(self._clock(), nodes, what))
            thread = spawn(what, partial(self._run_push, work, stop), self._push_failed)
            self._push = _Push(thread, stop)
            self._threads.append(thread)
            return True

    def _run_push(
        self, work: Callable[[Report, threading.Event], PushReport], stop: threading.Event
    ) -> None:
        try:
            report = work(self._report, stop)
        except KomeError as error:
            self._push_failed(for_fleet(str(error), self.state.command))
            return
        self._push_over(report, None)
        if _found_buffering(self.state):
            self._start_probe(TRIAGE_TOKENS)  # whether the push was the cure

    def _report(self, progress: Progress) -> None:
        self._put(PushStep(self._clock(), progress))

    def _push_failed(self, words: str) -> None:
        self._push_over(None, words)

    def _push_over(self, report: PushReport | None, error: str | None) -> None:
        with self._lock:
            self._push = None
        self._put(PushEnded(self._clock(), report, error))
        self._hurry.set()

    def _start_probe(self, tokens: int) -> bool:
        with self._lock:
            if self._probing or self._stop.is_set():
                return False
            self._probing = True
            self._put(ProbeStarted(self._clock()))
            work = partial(self._run_probe, tokens)
            self._threads.append(spawn("probe", work, self._probe_failed))
            return True

    def _run_probe(self, tokens: int) -> None:
        targets = targets_for(self.topology, PROBE_PATHS)
        result = run_probe(targets, tokens, PROBE_S, stop=self._stop)
        self._probe_over(result)

    def _probe_failed(self, words: str) -> None:
        self._probe_over(Missing(words))

    def _probe_over(self, result: ProbeResult | Missing) -> None:
        with self._lock:
            self._probing = False
        self._put(ProbeSeen(Reading(result, self._clock())), diagnose=True)

    def _note_error(self, words: str) -> None:
        self._put(Noted(LogEntry(self._clock(), "error", "console", words)))

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(spawn(name, work, self._note_error, self._may_go_on))

    def _may_go_on(self) -> bool:
        """After a surprise: wait a while, then start that thread anew."""
        return not self._stop.wait(RESTART_S)

    def _put(self, *events: Event, diagnose: bool = False) -> None:
        if events or diagnose:
            self._inbox.put(_Batch(events, diagnose))


@dataclass(frozen=True, slots=True)
class _Batch:
    """Events that belong together, and whether to think about them at once."""

    events: tuple[Event, ...]
    diagnose: bool


@dataclass(frozen=True, slots=True)
class _Push:
    thread: threading.Thread
    stop: threading.Event


def _nothing_asked(state: ConsoleState) -> bool:
    return all(node.ssh.taken_at == 0.0 for node in state.nodes.values())


def _found_buffering(state: ConsoleState) -> bool:
    probe = state.probe.or_none()
    return probe is not None and probe.verdict.buffering_hop is not None
