"""What the console asks of a session. Tests stand in a fake for it.

Every call but plan and ways_back returns at once and is safe from the UI's loop; these two block
until the nodes have answered, and run in a thread of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from kome_tui.state import ConsoleState, Event, FileStamp

if TYPE_CHECKING:  # plan brings the renderer with it, which the first paint need not wait for
    from kome_tui.release.plan import NodePlan


class SessionApi(Protocol):
    """Samplers and pushes behind the console."""

    state: ConsoleState
    """The state before the first event."""

    def start(self, emit: Callable[[Event], None]) -> None:
        """Start sampling. `emit` may be called from any thread."""

    def stop(self) -> None:
        """End every thread, in a bounded time; takes a running trial back. Harmless twice."""

    def deploy(self, nodes: tuple[str, ...], accept_drift: bool = False) -> bool:
        """Start a push. False: one runs already, or this session is read-only."""

    def rollback(
        self, nodes: tuple[str, ...], to: str | None = None, accept_drift: bool = False
    ) -> bool:
        """Start going back to `to`, or to the previous release. False as for deploy."""

    def file_stamp(self) -> FileStamp:
        """The version of the topology file on the disk; returns at once."""

    def stop_push(self) -> None:
        """Stop the waves of the running push and take its trials back."""

    def probe(self) -> bool:
        """Start a stream probe. False: one runs already."""

    def triage(self) -> bool:
        """Start one full diagnosis with every check. False: one runs already."""

    def plan(self, nodes: tuple[str, ...]) -> Mapping[str, NodePlan]:
        """What a push would change. Blocks; raises KomeError."""

    def ways_back(self, nodes: tuple[str, ...]) -> Mapping[str, str]:
        """From where to where a rollback would take each node, in words. Blocks."""
