"""The order of a push: one canary per role, then the rest, the frontend last.

People's traffic enters at the frontend, so it only ever gets a release that the edge has accepted.
"""

from collections.abc import Iterable

from kome_tui.topology.model import Role, Topology


def waves(topology: Topology, names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Split `names` into waves; the nodes of one wave are pushed at the same time.

    Within a role the topology's order decides who is the canary. Empty waves are left out.
    """
    wanted = set(names)
    edge = [
        [name for name in topology.with_role(role) if name in wanted]
        for role in Role
        if role is not Role.FRONTEND
    ]
    canaries = tuple(nodes[0] for nodes in edge if nodes)
    rest = tuple(name for nodes in edge for name in nodes[1:])
    frontend = tuple(name for name in topology.with_role(Role.FRONTEND) if name in wanted)
    return tuple(wave for wave in (canaries, rest, frontend) if wave)
