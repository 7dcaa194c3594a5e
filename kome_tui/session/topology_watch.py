"""Notices that topology.yaml was edited while the console is open, and what that means.

What only changes what is rendered is taken over at once. What changes the fleet itself (nodes,
addresses, logins, layouts) is not: connections and panels stand on it, so the console says to
open it again.
"""

from dataclasses import dataclass
from pathlib import Path

from kome_tui.errors import TopologyError
from kome_tui.state import FileStamp
from kome_tui.topology.load import load
from kome_tui.topology.model import Topology


@dataclass(frozen=True, slots=True)
class TopologyNews:
    """The file was written anew."""

    topology: Topology | None
    """None: it cannot be taken over, and `problem` says why."""
    problem: str | None
    stamp: FileStamp
    """Of the file that was read."""


class TopologyWatch:
    """Watches one file. `topology` is what was read from it at first."""

    def __init__(self, path: Path, topology: Topology) -> None:
        self._path = path
        self._topology = topology
        self._seen = self.stamp()

    def stamp(self) -> FileStamp:
        """Tells one version of the file from another; None where it is not there. Quick."""
        try:
            found = self._path.stat()
        except OSError:
            return None  # an editor replaces it at this moment, or it is gone: load() says so
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def news(self) -> TopologyNews | None:
        """What changed since the last call; None where the file was not written."""
        stamp = self.stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            found = load(self._path)
        except TopologyError as error:
            first = error.problems[0]
            more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
            return TopologyNews(None, f"line {first.line}: {first.message}{more}", stamp)
        reason = reopen_reason(self._topology, found)
        if reason is not None:
            why = f"{reason}: leave and open the console again for it"
            return TopologyNews(None, why, stamp)
        self._topology = found
        return TopologyNews(found, None, stamp)


def reopen_reason(before: Topology, after: Topology) -> str | None:
    """Why the open console cannot take `after` over; None where it can."""
    if list(before.nodes) != list(after.nodes):
        changed = sorted(set(before.nodes) ^ set(after.nodes))
        return f"other nodes ({', '.join(changed)})" if changed else "another order of nodes"
    for name in before.nodes:
        for what in ("role", "address"):
            if getattr(before.nodes[name], what) != getattr(after.nodes[name], what):
                return f"{name} has another {what}"
        if before.ssh_of(name) != after.ssh_of(name):
            return f"{name} has another way to log in"
        if before.layout_of(name) != after.layout_of(name):
            return f"{name} has another layout"
    return None
