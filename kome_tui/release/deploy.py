"""deploy: bring nodes to what the topology asks for."""

import threading
from collections.abc import Sequence

from kome_tui.fleet.answers import Applied, Staged
from kome_tui.fleet.script import script_digest
from kome_tui.nginx.render import Release
from kome_tui.nginx.rendered import release_of
from kome_tui.release.engine import ended, run_push
from kome_tui.release.fleet_api import FleetApi, NodeApi, Report
from kome_tui.release.outcome import NodeOutcome, PushReport
from kome_tui.release.trial import Push, Trial
from kome_tui.topology.model import Topology


def deploy(
    topology: Topology,
    fleet: FleetApi,
    names: Sequence[str],
    *,
    accept_drift: bool = False,
    report: Report,
    stop: threading.Event,
) -> PushReport:
    """Push the topology's releases to `names`. Every node gets an outcome.

    `report` is called from several threads. Setting `stop` takes trials back and leaves the nodes
    of later waves untouched. Raises RenderError before anything is sent.
    """
    releases = {name: release_of(topology, name) for name in names}
    push = Push(topology, fleet, report, stop)

    def stage(name: str) -> Trial | NodeOutcome:
        push.say(name, "stage", "staging and testing")
        release = releases[name]
        staged = fleet.node(name).stage(release.id, release.conf.encode())
        wanted = script_digest(topology, name)
        if staged.ahead and staged.script_digest not in (None, wanted):  # from before a rebuild
            staged = fleet.node(name).stage(release.id, release.conf.encode())
        if staged.script_digest not in (None, wanted):
            push.say(name, "stage", f"its kome-node is old: `kome-tui rebuild {name}` renews it")
        return _without_switch(staged, accept_drift) or _trial(release, staged)

    return run_push(push, names, stage)


def _without_switch(staged: Staged, accept_drift: bool) -> NodeOutcome | None:
    if staged.trial is not None:
        why = f"release {staged.trial} is on trial there; wait for it to end"
        return ended("refused", staged.live, why)
    if staged.unchanged:
        return ended("unchanged", staged.live, None)
    if staged.drift and not accept_drift:
        why = "changed by hand since the last push; see `kome-tui plan`, then --accept-drift"
        return ended("refused", staged.live, why)
    return None


def _trial(release: Release, staged: Staged) -> Trial:
    def switch(client: NodeApi, token: str, trial_s: float) -> Applied:
        return client.apply(release.id, token, trial_s)

    return Trial(release.node, staged.live, release.id, switch, staged.drift)
