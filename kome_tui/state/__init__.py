"""The one state of the console, and the one function that changes it.

State is a fold over events: apply(state, event) is pure, so a session is a file of events and an
incident can be replayed. A clock, a socket or a random number in here would break that.
"""

from kome_tui.state.fold import apply, evidence_of, first_state
from kome_tui.state.model import (
    EVENTS_KEPT,
    ConsoleState,
    Diagnosed,
    Event,
    FactsSeen,
    FileStamp,
    HealthSeen,
    LogEntry,
    NodeState,
    Noted,
    PlanSeen,
    ProbeSeen,
    ProbeStarted,
    PushEnded,
    PushStarted,
    PushStep,
    ServiceSeen,
    SshSeen,
    TopologySeen,
    TrafficSeen,
    UpstreamSeen,
)
from kome_tui.state.views import upstream_state

__all__ = [
    "EVENTS_KEPT",
    "ConsoleState",
    "Diagnosed",
    "Event",
    "FactsSeen",
    "FileStamp",
    "HealthSeen",
    "LogEntry",
    "NodeState",
    "Noted",
    "PlanSeen",
    "ProbeSeen",
    "ProbeStarted",
    "PushEnded",
    "PushStarted",
    "PushStep",
    "ServiceSeen",
    "SshSeen",
    "TopologySeen",
    "TrafficSeen",
    "UpstreamSeen",
    "apply",
    "evidence_of",
    "first_state",
    "upstream_state",
]
