"""What the samplers measure, as values. Producers yield these and know nothing of events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

UpstreamState = Literal["up", "degraded", "down", "unknown"]

CACHE_HITS = frozenset({"HIT", "STALE", "UPDATING", "REVALIDATED"})
CACHE_MISSES = frozenset({"MISS", "EXPIRED"})


@dataclass(frozen=True, slots=True)
class HitCounts:
    """Requests of one window by what the cache did."""

    hits: int
    misses: int
    other: int
    window_s: float
    """Length of the window; 0 means since the start of the session."""

    @property
    def rate(self) -> float | None:
        """Hits of all cacheable requests, 0..1; None without any."""
        seen = self.hits + self.misses
        return self.hits / seen if seen else None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a node's access log said, at one moment."""

    last_minute: HitCounts
    last_quarter: HitCounts
    since_start: HitCounts
    requests_per_s: float
    """Over the last minute, or since the first line if that is shorter."""
    errors_5xx: int
    """In the last 15 minutes."""
    newest_line_at: float | None
    """Time of the newest line, by the node's clock; None without any."""
    top_missed: tuple[tuple[str, int], ...] = ()
    recent: tuple["Request", ...] = ()
    """The last few requests, newest last."""


@dataclass(frozen=True, slots=True)
class Request:
    """One line of an access log, cleaned for showing."""

    at: float
    node: str
    status: int
    cache: str
    method: str
    path: str
    seconds: float
    client: str


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one service from one vantage point."""

    state: UpstreamState
    latency_ms: float | None
    reason: str | None
    """Why it is not up; None where it is."""
    status: int | None = None
    """HTTP status, where there was one."""
    detail: Mapping[str, str] = field(default_factory=dict)
    """What the answer said on top (X-Cache, release id, component states), cleaned."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Inter-chunk gaps in milliseconds; None where there were too few chunks."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class StreamStats:
    """One stream, measured. FACTS of the method: see signals/gaps.py."""

    ok: bool
    error: str | None
    ttft_ms: float | None
    chunks: int
    tokens: int
    gap_ms: Gaps
    tpot_ms: float | None
    stalls: int
    burst: float | None
    """Tokens per arrival cluster, 1.0 and up; None without tokens."""
    buffered: bool
    arrivals_ns: tuple[int, ...]
    """Arrival of each token-carrying chunk, from the moment the request was sent."""


@dataclass(frozen=True, slots=True)
class PathProbe:
    """A path probed without, and with, gzip offered."""

    path: str
    plain: StreamStats
    gzip: StreamStats | None


@dataclass(frozen=True, slots=True)
class ProbeVerdict:
    """What the hops say together."""

    buffering_hop: str | None
    slow_hop: str | None
    text: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """All paths of one probe."""

    paths: tuple[PathProbe, ...]
    verdict: ProbeVerdict
