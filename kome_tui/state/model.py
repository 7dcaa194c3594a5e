"""Everything a screen shows, and the events that change it. Values only; fold.py changes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kome_tui.fleet.answers import NodeFacts
from kome_tui.reading import Reading, not_yet
from kome_tui.release.outcome import Progress, PushReport
from kome_tui.signals.readings import Check, ProbeResult, Traffic
from kome_tui.topology.model import Role, Topology, UpstreamName
from kome_tui.triage.model import Diagnosis, SshState

EVENTS_KEPT = 500
FileStamp = tuple[int, int, int] | None
"""Tells one version of a file from another: time, size and number on the disk."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node, as last seen."""

    name: str
    role: Role
    address: str
    wanted: str | None
    ssh: Reading[SshState] = field(default_factory=not_yet)
    ssh_reason: str | None = None
    facts: Reading[NodeFacts] = field(default_factory=not_yet)
    health: Reading[Check] = field(default_factory=not_yet)
    traffic: Reading[Traffic] = field(default_factory=not_yet)
    progress: Progress | None = None
    """Where the running or last push stands with this node."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of the events screen."""

    at: float
    level: Literal["info", "warning", "error"]
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class ConsoleState:
    """Everything a screen shows."""

    topology: Topology
    source: str
    """The topology file, as the operator named it."""
    is_lab: bool
    read_only: bool
    now: float
    """Time of the newest event."""
    nodes: Mapping[str, NodeState]
    upstreams: Mapping[UpstreamName, Mapping[str, Reading[Check]]]
    page: Reading[Check] = field(default_factory=not_yet)
    api: Reading[Check] = field(default_factory=not_yet)
    way_around: Reading[Check] = field(default_factory=not_yet)
    probe: Reading[ProbeResult] = field(default_factory=not_yet)
    probe_running: bool = False
    diagnosis: Reading[Diagnosis] = field(default_factory=not_yet)
    pushing: tuple[str, ...] = ()
    """Nodes of the push that runs now; empty without one."""
    last_push: PushReport | None = None
    events: tuple[LogEntry, ...] = ()
    """Newest last, at most EVENTS_KEPT."""
    is_plan_old: bool = False
    """The topology file was edited since a plan was last read."""
    file_stamp: FileStamp = None
    """The version of the topology file that this state knows."""
    file_problem: str | None = None
    """Why the topology file, as it is now, was not taken over."""
    probe_before: Reading[ProbeResult] = field(default_factory=not_yet)
    """One slow probe proves little; two in a row do."""
    command: str = "kome-tui"
    """How this fleet is named on a command line: the program, with -t and --ssh-config."""
    told: Mapping[str, str] = field(default_factory=dict)
    """What the events said last of each subject: they tell changes, not readings."""


@dataclass(frozen=True, slots=True)
class SshSeen:
    node: str
    ssh: Reading[SshState]
    reason: str | None


@dataclass(frozen=True, slots=True)
class FactsSeen:
    node: str
    facts: Reading[NodeFacts]


@dataclass(frozen=True, slots=True)
class HealthSeen:
    node: str
    health: Reading[Check]


@dataclass(frozen=True, slots=True)
class TrafficSeen:
    node: str
    traffic: Reading[Traffic]


@dataclass(frozen=True, slots=True)
class UpstreamSeen:
    upstream: UpstreamName
    vantage: str
    check: Reading[Check]


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """The page, the API or the way around, as a browser would see it."""

    which: Literal["page", "api", "way_around"]
    check: Reading[Check]


@dataclass(frozen=True, slots=True)
class ProbeStarted:
    at: float


@dataclass(frozen=True, slots=True)
class ProbeSeen:
    probe: Reading[ProbeResult]


@dataclass(frozen=True, slots=True)
class Diagnosed:
    diagnosis: Reading[Diagnosis]


@dataclass(frozen=True, slots=True)
class PushStarted:
    at: float
    nodes: tuple[str, ...]
    what: Literal["deploy", "rollback"]


@dataclass(frozen=True, slots=True)
class PushStep:
    at: float
    progress: Progress


@dataclass(frozen=True, slots=True)
class PushEnded:
    at: float
    report: PushReport | None
    error: str | None


@dataclass(frozen=True, slots=True)
class TopologySeen:
    """The topology file was edited."""

    at: float
    topology: Topology | None
    """None: not taken over."""
    wanted: Mapping[str, str | None]
    problem: str | None
    stamp: FileStamp = None


@dataclass(frozen=True, slots=True)
class PlanSeen:
    """Somebody has read what a push would change."""

    at: float


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth a line on the events screen."""

    entry: LogEntry


Event = (
    SshSeen
    | FactsSeen
    | HealthSeen
    | TrafficSeen
    | UpstreamSeen
    | ServiceSeen
    | ProbeStarted
    | ProbeSeen
    | Diagnosed
    | PushStarted
    | PushStep
    | PushEnded
    | TopologySeen
    | PlanSeen
    | Noted
)
