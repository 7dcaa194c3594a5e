"""What a node may come to hold on its disk, added up from the topology alone.

An upper bound, so that a card never fills: every log counts as full and uncompressed, the cache as
at its limit. A careless change here lets a fleet through that fills its disks after a week.
"""

from dataclasses import dataclass

from kome_tui.topology.document import Keys
from kome_tui.topology.grammar import size_bytes
from kome_tui.topology.model import Topology

LOGS = ("access.log", "error.log")
LOGS_KEPT = 7
"""Old files of each log, beside the one that nginx writes."""

_RELEASE_BYTES = 1024 * 1024
"""The largest configuration that a node takes."""
_MORE_RELEASES = 2
"""Beside those kept: `original`, and the one that is being staged."""

_UNITS = ("KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class DiskBudget:
    """Bytes on one node's disk."""

    cache: int
    """0 where there is none, or it is in memory."""
    logs: int
    releases: int
    system: int
    allowed: int
    """The topology's disk.budget."""
    memory: int = 0
    """Of a cache in memory: not on the disk, and not in `total`."""

    @property
    def total(self) -> int:
        """All that may lie on the disk."""
        return self.cache + self.logs + self.releases + self.system

    def __str__(self) -> str:
        cache = f"{human(self.cache)} cache, " if self.cache else ""
        if self.memory:
            cache = f"no cache ({human(self.memory)} of memory), "
        return (
            f"{human(self.total)} of {human(self.allowed)}: {cache}{human(self.logs)} logs, "
            f"{human(self.releases)} releases, {human(self.system)} system"
        )


def disk_budget(topology: Topology, name: str) -> DiskBudget:
    """What the node called `name` may come to hold. KeyError for an unknown node."""
    disk, tmpfs = topology.disk, topology.tmpfs_of(name)
    cache = size_bytes(topology.nodes[name].cache_size or topology.cache.size)
    return DiskBudget(
        cache=cache if topology.has_cache(name) and not tmpfs else 0,
        logs=size_bytes(disk.log) * (1 + LOGS_KEPT) * len(LOGS),
        releases=_RELEASE_BYTES * (topology.push.keep + _MORE_RELEASES),
        system=size_bytes(disk.system),
        allowed=size_bytes(disk.budget),
        memory=size_bytes(tmpfs) if tmpfs else 0,
    )


def to_mend(topology: Topology, name: str) -> Keys:
    """The path of the value to make smaller: the largest that is a choice.

    What the system takes is not one, unless it leaves nothing for the rest.
    """
    budget = disk_budget(topology, name)
    if budget.system >= budget.allowed:
        return ("disk", "system")
    own = topology.nodes[name].cache_size
    parts: dict[Keys, int] = {
        ("nodes", name, "cache_size") if own else ("cache", "size"): budget.cache,
        ("disk", "log"): budget.logs,
        ("push", "keep"): budget.releases,
    }
    return max(parts, key=lambda path: parts[path])


def human(size: int) -> str:
    """A size for people, such as `1.5 GiB`; rounded up, so that it never looks smaller."""
    unit, value = _UNITS[0], -(-size // 1024)
    tenths = value * 10
    for unit in _UNITS:
        if tenths < 10240 or unit == _UNITS[-1]:
            break
        tenths = -(-tenths // 1024)
    whole, part = divmod(tenths, 10)
    return f"{whole}.{part} {unit}" if part else f"{whole} {unit}"
