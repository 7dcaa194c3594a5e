"""The release ids that the topology asks for."""

from kome_tui.errors import RenderError
from kome_tui.nginx.rendered import release_of
from kome_tui.topology.model import Topology


def wanted_ids(topology: Topology) -> dict[str, str | None]:
    """The release id each node should serve; None for one that does not render."""
    return {name: _wanted(topology, name) for name in topology.nodes}


def _wanted(topology: Topology, name: str) -> str | None:
    try:
        return release_of(topology, name).id
    except RenderError:
        return None
