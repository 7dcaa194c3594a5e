"""The statistics of one stream. Pure; hops.py compares them hop by hop.

Percentiles interpolate linearly between the two nearest ranks (Hyndman and Fan's type 7, as numpy
does by default). The burst statistic tells clumping from stalls; mean, p99 and the coefficient of
variation confuse the two and miss a stream that gzip delivers whole.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from kome_tui.signals.readings import Gaps, StreamStats

BUFFERED_FROM = 6.0
"""Tokens per arrival cluster: steady streams have 1.0, speculative decoding 2.7, buffers 10 up."""
CLUSTER_GAP_MS = 0.5
CLUSTER_GAP_OF_MEAN = 0.1
STALL_MS = 1000.0
STALL_MEDIANS = 10.0

_NS_PER_MS = 1_000_000


def stream_stats(
    arrivals_ns: Sequence[int], tokens: int | None = None, error: str | None = None
) -> StreamStats:
    """Measure one stream.

    `arrivals_ns`: arrival of each chunk with token content, in order, from the moment the request
    was sent. `tokens`: the server's own count, else every chunk is one. `error`: why the stream
    failed; what arrived before is measured all the same.
    """
    chunks = len(arrivals_ns)
    counted = chunks if tokens is None else max(tokens, chunks)
    gaps_ms = [(late - early) / _NS_PER_MS for early, late in pairwise(arrivals_ns)]
    span_ms = sum(gaps_ms)
    burst = counted / _clusters(gaps_ms) if chunks else None
    return StreamStats(
        ok=error is None,
        error=error,
        ttft_ms=arrivals_ns[0] / _NS_PER_MS if chunks else None,
        chunks=chunks,
        tokens=counted,
        gap_ms=_gaps(gaps_ms),
        tpot_ms=span_ms / (counted - 1) if chunks > 1 else None,
        stalls=_stalls(gaps_ms),
        burst=burst,
        buffered=burst is not None and burst >= BUFFERED_FROM,
        arrivals_ns=tuple(arrivals_ns),
    )


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The percentile of `values` (any order), interpolated linearly; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def _gaps(gaps_ms: Sequence[float]) -> Gaps:
    return Gaps(
        p50=percentile(gaps_ms, 50),
        p95=percentile(gaps_ms, 95),
        p99=percentile(gaps_ms, 99),
        max=max(gaps_ms, default=None),
    )


def _clusters(gaps_ms: Sequence[float]) -> int:
    """How many bursts the chunks came in: a new one where the gap is clearly one.

    Stalls do not count in the mean: ten seconds of silence in a 5 ms stream would raise it so far
    that every token looked clumped.
    """
    limit_ms = _stall_limit_ms(gaps_ms)
    flowing_ms = [gap for gap in gaps_ms if gap <= limit_ms]
    mean_ms = sum(flowing_ms) / len(flowing_ms) if flowing_ms else 0.0
    apart_ms = max(CLUSTER_GAP_MS, CLUSTER_GAP_OF_MEAN * mean_ms)
    return 1 + sum(gap > apart_ms for gap in gaps_ms)


def _stalls(gaps_ms: Sequence[float]) -> int:
    limit_ms = _stall_limit_ms(gaps_ms)
    return sum(gap > limit_ms for gap in gaps_ms)


def _stall_limit_ms(gaps_ms: Sequence[float]) -> float:
    return max(STALL_MS, STALL_MEDIANS * median(gaps_ms)) if gaps_ms else STALL_MS
