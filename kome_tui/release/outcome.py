"""How a push went: progress while it runs, and one outcome for every node at its end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from kome_tui.text import for_fleet

Outcome = Literal[
    "committed", "unchanged", "rolled-back", "untouched", "unreachable", "refused", "degraded"
]
PushResult = Literal["ok", "failed", "refused"]
Step = Literal[
    "connect", "set-up", "stage", "wait", "switch", "prove", "confirm", "rollback", "done"
]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of one node. `outcome` is set with step `done` only."""

    node: str
    step: Step
    text: str
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class NodeOutcome:
    """One node at the end of a push."""

    outcome: Outcome
    release: str | None
    """Live at the end; None: not known, and `reason` says why."""
    previous: str | None
    seconds: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class PushReport:
    """The whole push. `ok` only if every node is committed or unchanged."""

    result: PushResult
    seconds: float
    nodes: Mapping[str, NodeOutcome]

    def of_fleet(self, command: str) -> "PushReport":
        """The same, with the commands that its reasons name turned to the fleet of `command`."""
        nodes = {
            name: seen
            if seen.reason is None
            else replace(seen, reason=for_fleet(seen.reason, command))
            for name, seen in self.nodes.items()
        }
        return replace(self, nodes=nodes)
