"""apply: the one function that changes the state. Pure and total, whatever the event names.

The shown value is always the newest reading; what deserves a line on the events screen is decided
in journal.py, from the state before and after.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from kome_tui.reading import Missing, Reading, not_yet
from kome_tui.state.journal import written
from kome_tui.state.model import (
    ConsoleState,
    Diagnosed,
    Event,
    FactsSeen,
    HealthSeen,
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
from kome_tui.state.naming import named
from kome_tui.topology.model import Topology, UpstreamName
from kome_tui.triage.model import OPERATOR, Evidence, NodeEvidence

ORIGINAL = "original"
"""The release id of what a node served before its first push."""


def first_state(
    topology: Topology,
    source: str,
    wanted: Mapping[str, str | None],
    *,
    is_lab: bool = False,
    read_only: bool = False,
    now: float = 0.0,
    command: str = "kome-tui",
) -> ConsoleState:
    """The state before anything was measured. `wanted`: release ids by node."""
    nodes = {
        name: NodeState(name, node.role, node.address, wanted.get(name))
        for name, node in topology.nodes.items()
    }
    return ConsoleState(
        topology=topology,
        source=source,
        is_lab=is_lab,
        read_only=read_only,
        now=now,
        command=command,
        nodes=nodes,
        upstreams={
            upstream: {OPERATOR: not_yet(), topology.frontend: not_yet()}
            for upstream in UpstreamName
        },
    )


def apply(state: ConsoleState, event: Event) -> ConsoleState:
    """The state after `event`. An event about an unknown node changes the time only."""
    event = named(event, state.command)
    after = replace(_changed(state, event), now=max(state.now, _time_of(event)))
    return written(state, after, event)


def evidence_of(state: ConsoleState) -> Evidence:
    """What a diagnosis may look at."""
    return Evidence(
        topology=state.topology,
        now=state.now,
        nodes={
            name: NodeEvidence(
                ssh=node.ssh,
                facts=node.facts,
                wanted=node.wanted,
                health=node.health,
                traffic=node.traffic,
                ssh_reason=node.ssh_reason,
            )
            for name, node in state.nodes.items()
        },
        upstreams=state.upstreams,
        page=state.page,
        api=state.api,
        way_around=state.way_around,
        probe=state.probe,
        probe_before=state.probe_before,
        command=state.command,
    )


def _changed(state: ConsoleState, event: Event) -> ConsoleState:
    match event:
        case SshSeen():
            return _ssh_seen(state, event)
        case FactsSeen():
            return _facts_seen(state, event)
        case HealthSeen():
            return _node(state, event.node, health=event.health)
        case TrafficSeen():
            return _traffic_seen(state, event)
        case UpstreamSeen():
            views = {**state.upstreams.get(event.upstream, {}), event.vantage: event.check}
            return replace(state, upstreams={**state.upstreams, event.upstream: views})
        case ServiceSeen():
            return _service_seen(state, event)
        case ProbeStarted():
            return replace(state, probe_running=True)
        case ProbeSeen():
            return replace(state, probe=event.probe, probe_before=state.probe, probe_running=False)
        case Diagnosed():
            return replace(state, diagnosis=event.diagnosis)
        case PushStarted():
            return _push_started(state, event)
        case PushStep():
            return _node(state, event.progress.node, progress=event.progress)
        case PushEnded():
            report = event.report if event.report is not None else state.last_push
            return replace(state, pushing=(), last_push=report)
        case TopologySeen():
            return _topology_seen(state, event)
        case PlanSeen():
            return replace(state, is_plan_old=False)
        case Noted():
            return state
        case _:
            assert_never(event)


def _time_of(event: Event) -> float:
    match event:
        case SshSeen():
            return event.ssh.taken_at
        case FactsSeen():
            return event.facts.taken_at
        case HealthSeen():
            return event.health.taken_at
        case TrafficSeen():
            return event.traffic.taken_at
        case UpstreamSeen() | ServiceSeen():
            return event.check.taken_at
        case ProbeSeen():
            return event.probe.taken_at
        case Diagnosed():
            return event.diagnosis.taken_at
        case (
            ProbeStarted() | PushStarted() | PushStep() | PushEnded() | TopologySeen() | PlanSeen()
        ):
            return event.at
        case Noted():
            return event.entry.at
        case _:
            assert_never(event)


def _node(state: ConsoleState, name: str, **changes: Any) -> ConsoleState:
    node = state.nodes.get(name)
    if node is None:
        return state
    return replace(state, nodes={**state.nodes, name: replace(node, **changes)})


def _traffic_seen(state: ConsoleState, event: TrafficSeen) -> ConsoleState:
    """A node without a release of ours writes no line that we can read: unknown, not zero."""
    node = state.nodes.get(event.node)
    facts = node.facts.or_none() if node is not None else None
    traffic = event.traffic.or_none()
    is_foreign = facts is not None and facts.live in (None, ORIGINAL)
    if is_foreign and traffic is not None and traffic.newest_line_at is None:
        why = "not counted: it serves no release of ours yet"
        return _node(state, event.node, traffic=Reading(Missing(why), event.traffic.taken_at))
    return _node(state, event.node, traffic=event.traffic)


def _ssh_seen(state: ConsoleState, event: SshSeen) -> ConsoleState:
    changes: dict[str, Any] = {"ssh": event.ssh, "ssh_reason": event.reason}
    if event.ssh.or_none() != "ok":
        why = event.reason or event.ssh.or_none() or event.ssh.why_missing
        gone: Reading[Any] = Reading(Missing(f"no SSH: {why}"), event.ssh.taken_at)
        changes |= {"facts": gone, "traffic": gone}  # what it said before is not so any more
    return _node(state, event.node, **changes)


def _facts_seen(state: ConsoleState, event: FactsSeen) -> ConsoleState:
    changes: dict[str, Any] = {"facts": event.facts}
    if event.facts.or_none() is not None:
        changes |= {"ssh": Reading("ok", event.facts.taken_at), "ssh_reason": None}
    return _node(state, event.node, **changes)


def _service_seen(state: ConsoleState, event: ServiceSeen) -> ConsoleState:
    match event.which:
        case "page":
            return replace(state, page=event.check)
        case "api":
            return replace(state, api=event.check)
        case "way_around":
            return replace(state, way_around=event.check)
        case _:
            assert_never(event.which)


def _topology_seen(state: ConsoleState, event: TopologySeen) -> ConsoleState:
    if event.topology is None:
        return replace(state, file_problem=event.problem, file_stamp=event.stamp)
    nodes = {
        name: replace(node, wanted=event.wanted.get(name)) for name, node in state.nodes.items()
    }
    differs = any(node.wanted != state.nodes[name].wanted for name, node in nodes.items())
    return replace(
        state,
        topology=event.topology,
        nodes=nodes,
        file_problem=None,
        file_stamp=event.stamp,
        is_plan_old=state.is_plan_old or differs,
    )


def _push_started(state: ConsoleState, event: PushStarted) -> ConsoleState:
    nodes = {name: replace(node, progress=None) for name, node in state.nodes.items()}
    return replace(state, nodes=nodes, pushing=event.nodes, is_plan_old=False)
