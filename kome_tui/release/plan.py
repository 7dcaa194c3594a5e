"""plan: what a push would change. Asks the nodes, changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kome_tui.errors import KomeError
from kome_tui.nginx.diff import unified
from kome_tui.nginx.meaning import changes
from kome_tui.nginx.render import Release
from kome_tui.nginx.rendered import release_of
from kome_tui.release.engine import at_once
from kome_tui.release.fleet_api import FleetApi
from kome_tui.release.outdated import outdated
from kome_tui.text import for_fleet
from kome_tui.topology.model import Topology


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What a push would do to one node."""

    live: str | None
    wanted: str
    changed: bool
    """False too for a node that cannot be asked: a push would skip it."""
    drift: bool | None
    """None: not known, and `reason` says why."""
    diff: str
    """Unified diff from what the node serves to what it would serve."""
    reason: str | None
    meaning: tuple[str, ...] = ()
    """The same as what people feel: `streams timeout: 60 s -> 3600 s`."""
    outdated: str | None = None
    """What of the node besides its release is old, and what renews it."""


def plan(topology: Topology, fleet: FleetApi, names: Sequence[str]) -> dict[str, NodePlan]:
    """Compare what each node serves with what the topology asks for. Raises RenderError."""
    releases = {name: release_of(topology, name) for name in names}
    return at_once(names, lambda name: _plan(topology, fleet, releases[name]))


def of_fleet(plans: Mapping[str, NodePlan], command: str) -> dict[str, NodePlan]:
    """The same, with the commands that reasons name turned to the fleet of `command`."""

    def named(words: str | None) -> str | None:
        return for_fleet(words, command) if words is not None else None

    return {
        name: replace(made, reason=named(made.reason), outdated=named(made.outdated))
        for name, made in plans.items()
    }


def _plan(topology: Topology, fleet: FleetApi, release: Release) -> NodePlan:
    try:
        client = fleet.node(release.node)
        status = client.status()
        old = outdated(topology, release.node, status)
        if status.live == release.id and not status.drift:
            return NodePlan(status.live, release.id, False, False, "", None, (), old)
        served = client.live_conf().decode("utf-8", "backslashreplace")
    except KomeError as error:  # of the node, or of our own ssh, which then reaches no node
        return NodePlan(None, release.id, False, None, "", error.words)
    live = status.live or "what it serves now"
    diff = unified(served, release.conf, f"{release.node} {live}", f"{release.node} {release.id}")
    felt = changes(served, release.conf)
    return NodePlan(status.live, release.id, True, status.drift, diff, None, felt, old)
