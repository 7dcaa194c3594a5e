"""What sampling needs of the fleet. fleet.Fleet is one; a test may bring its own."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

from kome_tui.fleet.answers import LogChunk, NodeFacts
from kome_tui.fleet.node_admin import Reached
from kome_tui.release import fleet_api
from kome_tui.signals.dial import Socket
from kome_tui.topology.model import Endpoint

T_co = TypeVar("T_co", covariant=True)


class Stream(Protocol[T_co]):
    """Values until close(), which any thread may call."""

    def __iter__(self) -> Iterator[T_co]: ...
    def __next__(self) -> T_co: ...
    def close(self) -> None: ...


class NodeApi(fleet_api.NodeApi, Protocol):
    """One node: a push's verbs, and what it measures. Every call may raise FleetError."""

    def facts(self, interval_s: float) -> Stream[NodeFacts]: ...
    def follow(self, inode: int | None, offset: int) -> Stream[LogChunk]: ...
    def read_log(self, tail_bytes: int) -> bytes: ...
    def make_ready(self) -> None: ...


class AdminApi(Protocol):
    """One node: what its script tries for us. Every call may raise FleetError."""

    def reach(self, endpoint: Endpoint, timeout_s: float) -> Reached: ...


class FleetApi(Protocol):
    """All nodes, each over one warm connection."""

    def node(self, name: str) -> NodeApi: ...
    def admin(self, name: str) -> AdminApi: ...
    def open_tcp(self, name: str, endpoint: Endpoint, timeout_s: float) -> Socket: ...
    def connect(self, name: str) -> None: ...
    def close(self) -> None: ...
