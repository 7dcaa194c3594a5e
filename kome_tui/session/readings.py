"""From answers and errors to events. Pure: `at` is an argument.

An error of ours (no permission, no answer in time) becomes Missing with its reason, never "down".
"""

from typing import Any

from kome_tui.errors import (
    FleetError,
    HostKeyChanged,
    HostKeyUnknown,
    KomeError,
    NodeTimeout,
    NoSshClient,
    NotSetUp,
    SshAuthFailed,
    SshUnreachable,
)
from kome_tui.fleet.answers import LogChunk
from kome_tui.reading import Missing, Reading
from kome_tui.state import (
    ConsoleState,
    Event,
    FactsSeen,
    HealthSeen,
    ServiceSeen,
    SshSeen,
    TrafficSeen,
    UpstreamSeen,
)
from kome_tui.triage.model import SshState

SILENCE_S = 10.0
"""Facts are due every 2 s; a connection with none for so long is dead, whatever TCP says."""
LONGEST_WAIT_S = 15.0
LOCKED_OUT_WAIT_S = 60.0
"""A node that refuses our key may count the attempts and ban us."""


def ssh_state(error: KomeError) -> SshState | None:
    """What an error of a node says of its SSH; None: SSH is fine, something behind it is not."""
    match error:
        case SshUnreachable() | NodeTimeout():
            return "unreachable"
        case SshAuthFailed():
            return "auth-failed"
        case HostKeyChanged():
            return "host-key-changed"
        case HostKeyUnknown():
            return "host-key-unknown"
        case NotSetUp():
            return "not-set-up"
        case _:
            return None


def after_error(node: str, error: KomeError, at: float) -> tuple[Event, ...]:
    """The events of a node that could not be asked."""
    why = words_of(error)
    state = ssh_state(error)
    if state is not None:
        return (SshSeen(node, Reading(state, at), why),)
    if isinstance(error, NoSshClient) or not isinstance(error, FleetError):
        return (SshSeen(node, Reading(Missing(why), at), why),)
    return (
        SshSeen(node, Reading("ok", at), None),
        FactsSeen(node, Reading(Missing(why), at)),
    )


def words_of(error: KomeError) -> str:
    """An error as a reason: without the node's name, which stands beside it anyway."""
    return error.words


def wait_s(failures: int, state: SshState | None) -> float:
    """How long to wait before the next attempt: 1, 2, 4, 8, then 15 s; longer where locked out."""
    if state in ("auth-failed", "host-key-changed", "host-key-unknown"):
        return LOCKED_OUT_WAIT_S
    return min(LONGEST_WAIT_S, 2.0 ** min(failures, 5))


def silent_nodes(state: ConsoleState, now: float) -> tuple[Event, ...]:
    """Nodes whose connection stands and says nothing any more."""
    return tuple(
        SshSeen(name, Reading("unreachable", now), f"nothing heard for {SILENCE_S:.0f} s")
        for name, node in state.nodes.items()
        if node.ssh.or_none() == "ok"
        and node.facts.or_none() is not None
        and node.facts.age_s(now) > SILENCE_S
    )


def unanswered(
    state: ConsoleState, limit_s: float, ssh_limit_s: float, at: float
) -> tuple[Event, ...]:
    """Events for all that a sample asked and got no answer to in time."""
    why = f"no answer within {limit_s:g} s"
    gone: Reading[Any] = Reading(Missing(why), at)
    events: list[Event] = []
    for name, node in state.nodes.items():
        if node.ssh.taken_at == 0.0:
            silent = f"no answer within {ssh_limit_s:g} s"
            events.append(SshSeen(name, Reading("unreachable", at), silent))
        elif node.ssh.or_none() == "ok":
            events += [FactsSeen(name, gone)] if node.facts.taken_at == 0.0 else []
            events += [TrafficSeen(name, gone)] if node.traffic.taken_at == 0.0 else []
        events += [HealthSeen(name, gone)] if node.health.taken_at == 0.0 else []
    for upstream, views in state.upstreams.items():
        events += [
            UpstreamSeen(upstream, vantage, gone)
            for vantage, view in views.items()
            if view.taken_at == 0.0
        ]
    if state.page.taken_at == 0.0:
        events.append(ServiceSeen("page", gone))
    if state.api.taken_at == 0.0:
        events.append(ServiceSeen("api", gone))
    if state.way_around.taken_at == 0.0:
        events.append(ServiceSeen("way_around", gone))
    return tuple(events)


def end_of(chunk: LogChunk) -> tuple[int, int]:
    """Inode and offset at which the next chunk of a followed log begins."""
    return chunk.inode, chunk.offset + len(chunk.data)
