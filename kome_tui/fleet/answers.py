"""What a node answers, as values. Parsers beside the framing make them; nobody else does."""

from dataclasses import dataclass
from typing import Literal

NginxState = Literal["serving", "stopped", "unknown"]
Decision = Literal["confirmed", "rolled-back"]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node's own account of itself, from one exec."""

    live: str | None
    """Release id the `current` link names; None: the node serves something of its own."""
    running: str | None
    """Release id the marker answers; None: nothing answers."""
    previous: str | None
    nginx: NginxState
    drift: bool
    """The live file is not the one its id stands for, or /etc/nginx/nginx.conf is not our link."""
    trial: str | None
    """Release id under trial, None without one."""
    last: str | None
    """How the last push ended, in the node's words."""
    nginx_version: str | None
    script_version: int
    kept: tuple[str, ...]
    """Release ids on the node, newest first, `original` included."""
    disk_free_bytes: int | None
    inodes_free: int | None
    busy: str | None = None
    """Who holds the node's lock, None: nobody."""
    script_digest: str | None = None
    """fleet.script.digest_of() the node's script; None: a script that does not tell."""
    host_version: str | None = None
    """Version of the host files on the node; None: it has none of ours."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node measures of itself every few seconds. None: the node could not tell."""

    live: str | None
    drift: bool
    nginx: NginxState
    connections: int | None
    cpu_percent: float | None
    """All nginx processes since the frame before, in percent of one core."""
    memory_bytes: int | None
    cache_bytes: int | None
    cache_files: int | None
    disk_free_bytes: int | None
    old_workers: int | None
    """Workers of an earlier configuration that still finish their streams."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Answer to `stage`: the release lies on the node and `nginx -t` accepts it."""

    live: str | None
    drift: bool
    unchanged: bool
    """The node already serves this release, and nothing has drifted."""
    trial: str | None
    script_digest: str | None = None
    """As in NodeStatus."""
    ahead: bool = False
    """The script that answered had been started ahead: it may be older than the one on the node."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Answer to `apply`: on trial, proved from inside; or taken back at once, with the reason."""

    on_trial: bool
    live: str | None
    reason: str | None
    degraded: bool = False
    """What runs differs from what the disk says."""
    shows: str | None = None
    """What /.kome/release answers there, as the node sees it, where that is not the release's own
    id: an older id, or `-` for none. A file that somebody changed still carries its old one."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Answer to `confirm`, `cancel`, `rollback` and `recover`: how the node stands now."""

    decision: Decision | None
    """None: there was nothing to decide (recover on a quiet node)."""
    live: str | None
    degraded: bool
    """What runs differs from what the disk says."""
    reason: str | None


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of a followed log: `data` starts at `offset` of the file `inode`."""

    inode: int
    offset: int
    data: bytes
