"""rollback: bring nodes back to a release they still keep. It is a trial like any other push.

A node's `previous` is what it served before the last switch, so a second rollback undoes the first
and goes forward again. The report names both ids, and says so.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace

from kome_tui.errors import KomeError, RenderError
from kome_tui.fleet.answers import Applied, NodeStatus
from kome_tui.nginx.render import render_release
from kome_tui.release.engine import at_once, ended, run_push
from kome_tui.release.fleet_api import FleetApi, NodeApi, Report
from kome_tui.release.outcome import NodeOutcome, PushReport
from kome_tui.release.trial import Push, Trial
from kome_tui.topology.model import Topology


def rollback(
    topology: Topology,
    fleet: FleetApi,
    names: Sequence[str],
    *,
    to: str | None = None,
    accept_drift: bool = False,
    report: Report,
    stop: threading.Event,
) -> PushReport:
    """Bring `names` back to release `to`, or each to the one before. Every node gets an outcome.

    A node that does not keep the release refuses, and so does one that was changed by hand unless
    `accept_drift`; then no node is changed. The reason of a node that went back says from where to
    where.
    """
    push = Push(topology, fleet, report, stop)

    def ask(name: str) -> Trial | NodeOutcome:
        push.say(name, "connect", "asking what it keeps")
        status = fleet.node(name).status()
        target = to or status.previous
        ending = _without_switch(status, target, accept_drift)
        if ending is not None:
            return ending
        ways[name] = _way(topology, name, status, target, named=to is not None)
        push.say(name, "connect", ways[name])
        return _trial(name, status, target)

    ways: dict[str, str] = {}
    done = run_push(push, names, ask)
    return replace(
        done,
        nodes={
            name: replace(seen, reason=ways[name]) if seen.outcome == "committed" else seen
            for name, seen in done.nodes.items()
        },
    )


def ways_back(
    topology: Topology, fleet: FleetApi, names: Sequence[str], to: str | None = None
) -> dict[str, str]:
    """From where to where each of `names` would go, in words. Asks the nodes, changes nothing."""

    def way(name: str) -> str:
        try:
            status = fleet.node(name).status()
        except KomeError as error:
            return f"cannot be asked: {error}"
        target = to or status.previous
        if target is None:
            return "there is no earlier release on this node"
        return _way(topology, name, status, target, named=to is not None)

    return at_once(names, way)


def _way(
    topology: Topology, name: str, status: NodeStatus, target: str | None, *, named: bool
) -> str:
    """From where to where, in words. Forward is where the topology wants a node to be."""
    came = f"{status.live or 'a configuration of its own'}{', changed by hand' * status.drift}"
    if target != _wanted(topology, name):
        return f"back to {target}, from {came}"
    further = [kept for kept in status.kept if kept not in (target, status.live)]
    way = f"forward to {target}, which the topology asks for, from {came}"
    return way if named or not further else f"{way}; also kept, for --to: {', '.join(further)}"


def _wanted(topology: Topology, name: str) -> str | None:
    try:
        return render_release(topology, name).id
    except RenderError:
        return None


def _without_switch(
    status: NodeStatus, target: str | None, accept_drift: bool
) -> NodeOutcome | None:
    if status.trial is not None:
        why = f"release {status.trial} is on trial there; wait for it to end"
        return ended("refused", status.live, why)
    if target is None:
        return ended("refused", status.live, "there is no earlier release on this node")
    if target == status.live and not status.drift:
        return ended("unchanged", status.live, None)
    if status.drift and not accept_drift:
        why = "changed by hand since the last push; see `kome-tui plan`, then --accept-drift"
        return ended("refused", status.live, why)
    if target not in status.kept:
        kept = ", ".join(status.kept) or "none"
        why = f"release {target} is not kept there; kept are: {kept}"
        return ended("refused", status.live, why)
    return None


def _trial(name: str, status: NodeStatus, target: str | None) -> Trial:
    def switch(client: NodeApi, token: str, trial_s: float) -> Applied:
        return client.rollback(target, token, trial_s)

    return Trial(name, status.live, target, switch, status.drift)
