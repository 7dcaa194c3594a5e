"""What of a node besides its release is old: its script, and the files of its host.

A push works with both as they are; `rebuild` renews them.
"""

from kome_tui.fleet.answers import NodeStatus
from kome_tui.fleet.script import script_digest
from kome_tui.nginx.host import host_files
from kome_tui.topology.model import Topology


def host_version(topology: Topology, name: str) -> str | None:
    """The version of its host files that a node should have; None: a practice node has none."""
    if topology.layout_of(name).service != "systemd":
        return None
    return host_files(topology, name).version


def outdated(topology: Topology, name: str, status: NodeStatus) -> str | None:
    """What of a node besides its release is not what the topology asks for; None: nothing."""
    old = []
    if status.script_digest != script_digest(topology, name):
        old.append("kome-node")
    if status.host_version != host_version(topology, name):
        old.append("host files")
    if not old:
        return None
    renew = f"`kome-tui rebuild {name}` renews that"
    return f"{' and '.join(old)} not of this console and topology; {renew}"
