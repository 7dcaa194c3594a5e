"""rollback: bring nodes back to a release they still keep. It is a trial like any other push."""

import threading
from collections.abc import Sequence

from kome_tui.fleet.answers import Applied, NodeStatus
from kome_tui.release.engine import ended, run_push
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
    report: Report,
    stop: threading.Event,
) -> PushReport:
    """Bring `names` back to release `to`, or each to the one before. Every node gets an outcome.

    A node that does not keep the release refuses, and then no node is changed.
    """
    push = Push(topology, fleet, report, stop)

    def ask(name: str) -> Trial | NodeOutcome:
        push.say(name, "connect", "asking what it keeps")
        status = fleet.node(name).status()
        target = to or status.previous
        return _without_switch(status, target) or _trial(name, status, target)

    return run_push(push, names, ask)


def _without_switch(status: NodeStatus, target: str | None) -> NodeOutcome | None:
    if status.trial is not None:
        why = f"release {status.trial} is on trial there; wait for it to end"
        return ended("refused", status.live, why)
    if target is None:
        return ended("refused", status.live, "there is no earlier release on this node")
    if target == status.live and not status.drift:
        return ended("unchanged", status.live, None)
    if target not in status.kept:
        kept = ", ".join(status.kept) or "none"
        why = f"release {target} is not kept there; kept are: {kept}"
        return ended("refused", status.live, why)
    return None


def _trial(name: str, status: NodeStatus, target: str | None) -> Trial:
    def switch(client: NodeApi, token: str, trial_s: float) -> Applied:
        return client.rollback(target, token, trial_s)

    return Trial(name, status.live, target, switch, status.drift)
