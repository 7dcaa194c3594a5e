"""A session for the console that does what a test tells it to, and remembers what it was asked."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kome_tui.release.outcome import NodeOutcome, Outcome, Progress, PushReport
from kome_tui.release.plan import NodePlan
from kome_tui.state import ConsoleState, Event, FileStamp, PushEnded, PushStarted, PushStep
from tests.builders_state import BEHIND, NOW, WANTED

DIFF = "--- live\n+++ wanted\n@@ -1 +1 @@\n-\tproxy_buffering on;\n+\tproxy_buffering off;\n"


def a_plan(**changes: object) -> NodePlan:
    """A node that a push would change."""
    values: dict[str, object] = {
        "live": BEHIND,
        "wanted": WANTED,
        "changed": True,
        "drift": False,
        "diff": DIFF,
        "reason": None,
    }
    return NodePlan(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class FakeSession:
    """Stands in for a Session."""

    state: ConsoleState
    plans: Mapping[str, NodePlan] = field(default_factory=dict)
    asked: list[tuple[object, ...]] = field(default_factory=list)
    """Every request, in order."""
    emit: Callable[[Event], None] = lambda event: None
    started: bool = False
    stopped: bool = False
    pushing: bool = False
    stamp: FileStamp = None
    """The topology file on the disk, where it is another than the console knows."""
    hang_plan: threading.Event | None = None
    hang_stop: threading.Event | None = None

    def start(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit
        self.started = True

    def stop(self) -> None:
        if self.hang_stop is not None:
            self.hang_stop.wait(60)
        self.stopped = True

    def deploy(self, nodes: tuple[str, ...], accept_drift: bool = False) -> bool:
        self.asked.append(("deploy", nodes, accept_drift))
        return self._begin(nodes)

    def rollback(
        self, nodes: tuple[str, ...], to: str | None = None, accept_drift: bool = False
    ) -> bool:
        self.asked.append(("rollback", nodes, to, accept_drift))
        return self._begin(nodes)

    def ways_back(self, nodes: tuple[str, ...]) -> Mapping[str, str]:
        return dict.fromkeys(nodes, f"back to {BEHIND}, from {WANTED}")

    def file_stamp(self) -> FileStamp:
        return self.stamp if self.stamp is not None else self.state.file_stamp

    def stop_push(self) -> None:
        self.asked.append(("stop_push",))

    def probe(self) -> bool:
        self.asked.append(("probe",))
        return True

    def triage(self) -> bool:
        self.asked.append(("triage",))
        return True

    def plan(self, nodes: tuple[str, ...]) -> Mapping[str, NodePlan]:
        self.asked.append(("plan", nodes))
        if self.hang_plan is not None:
            self.hang_plan.wait(60)
        return self.plans

    def step(self, node: str, progress: Progress) -> None:
        """A step of the push, from a thread of the session."""
        self.from_a_thread(PushStep(NOW, progress))

    def end(self, nodes: tuple[str, ...], outcome: Outcome, reason: str | None = None) -> None:
        """The push ends, the same for every node."""
        self.pushing = False
        result = "ok" if outcome in ("committed", "unchanged") else "failed"
        report = PushReport(
            result,  # type: ignore[arg-type]
            0.8,
            {node: NodeOutcome(outcome, WANTED, BEHIND, 0.8, reason) for node in nodes},
        )
        self.from_a_thread(PushEnded(NOW, report, None))

    def from_a_thread(self, *events: Event) -> None:
        """Emit as the session does, from a thread that is not the app's."""
        thread = threading.Thread(target=lambda: [self.emit(event) for event in events])
        thread.start()
        thread.join(10)

    def of_kind(self, kind: str) -> list[tuple[object, ...]]:
        """The requests of one kind."""
        return [one for one in self.asked if one[0] == kind]

    def _begin(self, nodes: tuple[str, ...]) -> bool:
        if self.pushing:
            return False
        self.pushing = True
        self.from_a_thread(PushStarted(NOW, nodes, "deploy"))
        return True
