"""What the hops of a probe say together: who clumps, who is slow. Pure.

A hop is blamed only for what it adds to the hop behind it: a source that sends in clumps makes
every hop in front of it look buffered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kome_tui.signals.readings import PathProbe, ProbeVerdict, StreamStats

CLUMPS_MORE = 1.5
"""A hop adds clumping where its burst is this many times that of the hop behind it."""
SLOWER_BY = 1.5
SLOWER_BY_MS = 50.0


@dataclass(frozen=True, slots=True)
class _Clump:
    """A hop that adds clumping: to every client, or only to those that offer gzip."""

    hop: PathProbe
    behind: PathProbe | None
    stats: StreamStats
    only_gzip: bool


def verdict(paths: Sequence[PathProbe], depths: Sequence[int] | None = None) -> ProbeVerdict:
    """Name the first hop that adds clumping, and the first that adds delay, from the client on.

    `paths` in hop order, the client's side first. `depths` says how far behind each one is: paths
    of one depth stand side by side (two edge nodes) and are compared with the first measured path
    of the next depth, not with each other. Without it the paths are one chain.
    """
    levels = list(depths) if depths is not None else list(range(len(paths)))
    pairs = [
        (path, _behind(paths, levels, index))
        for index, path in enumerate(paths)
        if path.plain.chunks
    ]
    clumps = [clump for hop, behind in pairs if (clump := _clump(hop, behind))]
    slow = _first_slow(pairs, {clump.hop.path for clump in clumps})
    sentences = [
        *map(_clump_text, clumps),
        *([_slow_text(*slow)] if slow else []),
        *_failures(paths),
        *_stalls(paths),
    ]
    return ProbeVerdict(
        buffering_hop=clumps[0].hop.path if clumps else None,
        slow_hop=slow[0].path if slow else None,
        text="; ".join(sentences or [_steady_text(paths)]) + ".",
    )


def _behind(paths: Sequence[PathProbe], levels: Sequence[int], index: int) -> PathProbe | None:
    """The nearest measured path further back than `index`."""
    further = [at for at, level in enumerate(levels) if level > levels[index]]
    measured = [at for at in further if paths[at].plain.chunks]
    return paths[min(measured, key=lambda at: (levels[at], at))] if measured else None


def _clump(hop: PathProbe, behind: PathProbe | None) -> _Clump | None:
    if _adds_clumping(hop.plain, behind.plain if behind else None):
        return _Clump(hop, behind, hop.plain, only_gzip=False)
    if (
        hop.gzip
        and not hop.plain.buffered
        and _adds_clumping(hop.gzip, (behind.gzip or behind.plain) if behind else None)
    ):
        return _Clump(hop, behind, hop.gzip, only_gzip=True)
    return None


def _adds_clumping(stats: StreamStats, behind: StreamStats | None) -> bool:
    if not stats.buffered or stats.burst is None:
        return False
    if behind is None or behind.burst is None:
        return True
    return stats.burst >= CLUMPS_MORE * behind.burst


def _first_slow(
    pairs: Sequence[tuple[PathProbe, PathProbe | None]], clumping: set[str]
) -> tuple[PathProbe, PathProbe] | None:
    """The first hop that adds delay; one that clumps is late because of that."""
    for hop, behind in pairs:
        if behind and hop.path not in clumping and _adds_delay(hop.plain, behind.plain):
            return hop, behind
    return None


def _adds_delay(stats: StreamStats, behind: StreamStats) -> bool:
    return _slower(stats.ttft_ms, behind.ttft_ms) or _slower(stats.gap_ms.p50, behind.gap_ms.p50)


def _slower(value_ms: float | None, behind_ms: float | None) -> bool:
    if value_ms is None or behind_ms is None:
        return False
    return value_ms > SLOWER_BY * behind_ms and value_ms - behind_ms > SLOWER_BY_MS


def _clump_text(clump: _Clump) -> str:
    name = clump.hop.path
    how = (
        "in one piece"
        if clump.stats.burst is not None and clump.stats.burst >= clump.stats.tokens
        else f"in clumps of about {clump.stats.burst:.0f} tokens"
    )
    who = ", but only to clients that offer gzip" if clump.only_gzip else ""
    if clump.behind is None:
        return f"{name} delivers the stream {how}{who}, and nothing behind it was measured"
    return f"{name} delivers the stream {how}{who}, and {clump.behind.path} behind it does not"


def _slow_text(hop: PathProbe, behind: PathProbe) -> str:
    if _slower(hop.plain.ttft_ms, behind.plain.ttft_ms):
        what, slow, fast = "first token after", hop.plain.ttft_ms, behind.plain.ttft_ms
    else:
        what, slow, fast = "median gap", hop.plain.gap_ms.p50, behind.plain.gap_ms.p50
    return f"{hop.path} is slow: {what} {slow or 0:.0f} ms, and {fast or 0:.0f} at {behind.path}"


def _failures(paths: Sequence[PathProbe]) -> list[str]:
    plain = [f"{path.path} failed: {path.plain.error}" for path in paths if not path.plain.ok]
    return plain + [
        f"{path.path} failed with gzip offered: {path.gzip.error}"
        for path in paths
        if path.plain.ok and path.gzip and not path.gzip.ok
    ]


def _stalls(paths: Sequence[PathProbe]) -> list[str]:
    return [
        f"{path.path} stalled, {path.plain.gap_ms.max / 1000:.1f} s at the longest"
        for path in paths
        if path.plain.stalls and path.plain.gap_ms.max is not None
    ]


def _steady_text(paths: Sequence[PathProbe]) -> str:
    if not paths:
        return "Nothing was probed"
    if len(paths) == 1:
        return f"{paths[0].path} streams steadily"
    return f"All {len(paths)} paths stream steadily"
