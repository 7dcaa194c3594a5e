"""Evidence, findings and guidance, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kome_tui.fleet.answers import NodeFacts
from kome_tui.reading import Reading, not_yet
from kome_tui.signals.readings import Check, ProbeResult, Traffic
from kome_tui.topology.model import Topology, UpstreamName

Severity = Literal["info", "warning", "critical"]
Verdict = Literal["healthy", "degraded", "outage"]
SshState = Literal[
    "ok", "unreachable", "auth-failed", "host-key-changed", "host-key-unknown", "not-set-up"
]
OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class NodeEvidence:
    """What is known of one node."""

    ssh: Reading[SshState]
    facts: Reading[NodeFacts]
    wanted: str | None
    """Release id the topology asks for; None where it does not render."""
    health: Reading[Check]
    """GET /.kome/health from the operator."""
    traffic: Reading[Traffic]
    ssh_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a diagnosis may look at. No clock and no socket behind it."""

    topology: Topology
    now: float
    nodes: Mapping[str, NodeEvidence]
    upstreams: Mapping[UpstreamName, Mapping[str, Reading[Check]]]
    """By upstream, then by vantage point: OPERATOR or a node's name."""
    page: Reading[Check]
    """GET / through the frontend, from the operator."""
    api: Reading[Check]
    """GET /v1/models through the frontend, from the operator."""
    way_around: Reading[Check]
    """GET / at OKOME itself, from the operator: the browser's way around."""
    probe: Reading[ProbeResult]
    probe_before: Reading[ProbeResult] = field(default_factory=not_yet)
    """The one before that: one slow probe proves little."""
    command: str = "kome-tui"
    """What a command about this fleet begins with, so that it can be pasted anywhere."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One piece of evidence for a finding."""

    source: str
    seen: str
    at: float


@dataclass(frozen=True, slots=True)
class Action:
    """Something one key can run; `command` is the same on the command line."""

    name: str
    command: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong, why we think so, and what to do about it."""

    code: str
    severity: Severity
    subject: str
    title: str
    evidence: tuple[Seen, ...]
    guidance: tuple[str, ...]
    actions: tuple[Action, ...] = ()
    cause_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Findings, the root cause first."""

    verdict: Verdict
    findings: tuple[Finding, ...] = field(default=())
