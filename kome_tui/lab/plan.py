"""Which nodes a lab of N has, and the topology.yaml that describes it. Pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kome_tui.errors import LabError
from kome_tui.lab.ports import LOOPBACK
from kome_tui.lab.programs import Nginx
from kome_tui.topology.model import Role

FLEET = "lab"
SSH_USER = "kome"
NODE_LIMIT = 60

_ROLES = {
    "kome": Role.FRONTEND,
    "node-01": Role.INGRESS,
    "node-02": Role.INGRESS,
    "node-03": Role.CACHE_STREAM,
    "node-04": Role.CACHE_STREAM,
    "node-05": Role.CACHE_STREAM,
    "node-06": Role.CACHE_STREAM,
    "node-07": Role.SPECULATIVE_GPU,
    "node-08": Role.SPECULATIVE_GPU,
    "node-09": Role.OBSERVABILITY,
    "node-10": Role.OBSERVABILITY,
}
# One of each role first; the cache-stream node before the ingress, which cannot do without one.
_ORDER = ("kome", "node-03", "node-01", "node-07", "node-09")


class Described(Protocol):
    """What the topology says of a node."""

    name: str
    role: Role

    def layout(self) -> dict[str, object]:
        """Its own layout values."""

    def okome_port(self) -> int:
        """Where it finds OKOME."""


def roles_of(count: int) -> dict[str, Role]:
    """The names and roles of a lab of `count` nodes, in the file's order. Raises LabError."""
    if not 1 <= count <= NODE_LIMIT:
        raise LabError(f"a lab of {count} nodes", hint=f"allowed is 1 to {NODE_LIMIT}")
    wanted = [*_ORDER, *(name for name in _ROLES if name not in _ORDER)][:count]
    more = [f"node-{number:02}" for number in range(len(_ROLES), count)]
    roles = {name: role for name, role in _ROLES.items() if name in wanted}
    return roles | dict.fromkeys(more, Role.CACHE_STREAM)


def topology_values(
    nodes: Sequence[Described],
    upstream_ports: Mapping[str, int],
    draft_port: int,
    nginx: Nginx,
    is_root: bool,
) -> dict[str, object]:
    """The values of the lab's topology.yaml."""
    return {
        "schema": 1,
        "fleet": FLEET,
        "lan": ["127.0.0.0/8"],
        "upstreams": {name: _at(port) for name, port in upstream_ports.items()},
        "ssh": {"user": SSH_USER},
        "layout": {
            "nginx": nginx.binary,
            "nginx_version": nginx.version,
            "modules": nginx.modules,
            "user": "root" if is_root else None,
            "workers": 1,
            "service": "direct",
            "root": "none",
            "listen": LOOPBACK,
            "ipv6": False,
        },
        # Small and short-lived, so that the panels move.
        "cache": {"size": "16m", "ttl": "60s"},
        # All clients are 127.0.0.1: one person's rate would be everyone's.
        "limits": {"rate": 2000, "burst": 4000, "cached_rate": 2000, "cached_burst": 4000},
        "push": {"trial": "10s"},
        "nodes": {node.name: _node(node, draft_port) for node in nodes},
    }


def _node(node: Described, draft_port: int) -> dict[str, object]:
    values: dict[str, object] = {
        "role": node.role,
        "address": LOOPBACK,
        "layout": node.layout(),
        "upstreams": {"okome": _at(node.okome_port())},
    }
    if node.role is Role.SPECULATIVE_GPU:
        values["draft"] = _at(draft_port)
    return values


def _at(port: int) -> dict[str, object]:
    return {"address": LOOPBACK, "port": port}


def ssh_config(folder: Path, ports: Mapping[str, int]) -> str:
    """The OpenSSH configuration that reaches each node by its name, and asks nobody else's."""
    blocks = [
        f"Host {name}\n    HostName {LOOPBACK}\n    Port {port}\n" for name, port in ports.items()
    ]
    common = f"""Host *
    User {SSH_USER}
    IdentityFile {folder}/ssh/id_ed25519
    IdentitiesOnly yes
    IdentityAgent none
    PreferredAuthentications publickey
    UserKnownHostsFile {folder}/ssh/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ControlMaster no
    ControlPath none
"""
    return "\n".join([*blocks, common])
