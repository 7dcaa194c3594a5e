"""What a push needs of the fleet. fleet.Fleet is one; a test may bring its own."""

from collections.abc import Callable
from typing import Protocol

from kome_tui.fleet.answers import Applied, Decided, NodeStatus, Staged
from kome_tui.release.outcome import Progress
from kome_tui.signals.dial import Socket
from kome_tui.topology.model import Endpoint

Report = Callable[[Progress], None]
"""Called from several threads at once."""


class NodeApi(Protocol):
    """One node's verbs; see fleet.client.NodeClient. Every call may raise FleetError."""

    def stage(self, release_id: str, conf: bytes) -> Staged: ...
    def apply(self, release_id: str, token: str, trial_s: float) -> Applied: ...
    def confirm(self, token: str) -> Decided: ...
    def cancel(self, token: str) -> Decided: ...
    def rollback(self, to: str | None, token: str, trial_s: float) -> Applied: ...
    def status(self) -> NodeStatus: ...
    def live_conf(self) -> bytes: ...


class FleetApi(Protocol):
    """All nodes."""

    def node(self, name: str) -> NodeApi: ...
    def open_tcp(self, name: str, endpoint: Endpoint, timeout_s: float) -> Socket: ...
