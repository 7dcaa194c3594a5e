"""What the stream probe says: the hop that clumps, breaks or slows.

The hop is the first one that adds the fault; a hop that passes on a fault from before it is fine.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kome_tui.signals.readings import PathProbe, ProbeResult, StreamStats
from kome_tui.topology.model import UpstreamName
from kome_tui.triage import signs, words
from kome_tui.triage.findings import finding
from kome_tui.triage.model import Evidence, Finding, Seen

OKOME = UpstreamName.OKOME
FAR = 3.0
FAR_FIRST_TOKEN_MS = 500.0
FAR_GAP_MS = 100.0
"""So much slower than the hop before it in both streams of a probe, once is enough."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A path of the probe, in the operator's words."""

    subject: str
    shown: str
    is_node: bool
    cure: str


def hop_of(evidence: Evidence, path: str) -> Hop:
    """What a path of the probe ends at."""
    frontend = evidence.topology.frontend
    node = frontend if path == "frontend" else path
    if node in evidence.nodes:
        cure = (
            f"Redeploy {node}: every release passes streams on at once. If it stays, what clumps"
            f" lies between {node} and OKOME: a proxy, a filter or a bad cable."
        )
        return Hop(node, node, True, cure)
    if path == "gpu":
        cure = "vLLM itself sends in clumps. Look at its load and at what runs in front of it."
        return Hop(UpstreamName.VLLM.value, "vLLM", False, cure)
    cure = (
        "The edge is not at fault: OKOME collects tokens before it sends them. Look at compression"
        " and at how it forwards what vLLM sends."
    )
    shown = "OKOME" if path == OKOME.value else path
    return Hop(path, shown, False, cure)


def stream_buffered(evidence: Evidence) -> Iterable[Finding]:
    """The probe names a hop that clumps."""
    probe = evidence.probe.or_none()
    if probe is not None and probe.verdict.buffering_hop is not None:
        yield _stream(evidence, "stream-buffered", probe.verdict.buffering_hop)


def stream_refused(evidence: Evidence) -> Iterable[Finding]:
    """A hop does not let a stream begin that the hop before it delivers whole."""
    for path in _failed_alone(evidence):
        if not path.plain.chunks:
            error = path.plain.error or "no reason given"
            yield _stream(evidence, "stream-refused", path.path, error=error)


def stream_broken(evidence: Evidence) -> Iterable[Finding]:
    """A hop breaks a stream that the hop before it delivers whole."""
    for path in _failed_alone(evidence):
        if path.plain.chunks:
            yield _stream(evidence, "stream-broken", path.path)


def _failed_alone(evidence: Evidence) -> Iterable[PathProbe]:
    probe = evidence.probe.or_none()
    if probe is None or evidence.probe.age_s(evidence.now) > signs.PROBE_FRESH_S:
        return
    for path in probe.paths:
        before = _before(evidence, probe, path)
        if _broken(path) and before is not None and before.plain.ok:
            yield path


def _broken(path: PathProbe) -> bool:
    """It broke; that our own time limit was over first says nothing of the hop."""
    error = path.plain.error or ""
    return not path.plain.ok and "in time" not in error and "time was over" not in error


def stream_stalled(evidence: Evidence) -> Iterable[Finding]:
    """A hop stands still where the one before it does not; twice, for a laptop may do that once."""
    probe = evidence.probe.or_none()
    if probe is None:
        return
    for path in probe.paths:
        longest_ms = path.plain.gap_ms.max
        if longest_ms is None or not _stalls_alone(evidence, probe, path.path):
            continue
        again = path.gzip is not None and path.gzip.stalls > 0
        before = _seen_before(evidence)
        if again or (before is not None and _stalls_alone(evidence, before, path.path)):
            longest = f"{longest_ms / 1000:.1f} s"
            yield _stream(evidence, "stream-stalled", path.path, longest=longest)


def _stalls_alone(evidence: Evidence, probe: ProbeResult, name: str) -> bool:
    for path in probe.paths:
        if path.path == name and path.plain.stalls:
            before = _before(evidence, probe, path)
            return before is None or not before.plain.stalls
    return False


def stream_slow(evidence: Evidence) -> Iterable[Finding]:
    """The probe names a hop that slows down: by far, or in two probes one after the other.

    A busy laptop makes one stream look slow now and then.
    """
    probe = evidence.probe.or_none()
    name = probe.verdict.slow_hop if probe is not None else None
    path = next((each for each in probe.paths if each.path == name), None) if probe else None
    before = _before(evidence, probe, path) if probe is not None and path is not None else None
    if name is None or path is None or before is None:
        return
    earlier = _seen_before(evidence)
    twice = earlier is not None and earlier.verdict.slow_hop == name
    if twice or _slow_by_far(path, before):
        yield _stream(evidence, "stream-slow", name, slower=_slower_words(path, before))


def _slow_by_far(path: PathProbe, before: PathProbe) -> bool:
    """In both of its streams, so that no single pause of this laptop makes it."""
    return _far(path.plain, before.plain) and (
        path.gzip is not None and _far(path.gzip, before.gzip or before.plain)
    )


def _far(stats: StreamStats, behind: StreamStats) -> bool:
    return any(
        slow is not None and fast is not None and slow > FAR * fast and slow - fast > more_ms
        for slow, fast, more_ms in (
            (stats.ttft_ms, behind.ttft_ms, FAR_FIRST_TOKEN_MS),
            (stats.gap_ms.p50, behind.gap_ms.p50, FAR_GAP_MS),
        )
    )


def _slower_words(path: PathProbe, before: PathProbe) -> str:
    """What it was decided on: the one of both that grew more."""
    pairs = [
        ("first token after", path.plain.ttft_ms, before.plain.ttft_ms),
        ("median gap", path.plain.gap_ms.p50, before.plain.gap_ms.p50),
    ]
    grown = [
        (slow / max(fast, 0.1), what, slow, fast) for what, slow, fast in pairs if slow and fast
    ]
    if not grown:
        return "its tokens come late"
    _, what, slow, fast = max(grown)
    return f"{what} {slow:.0f} ms, and {fast:.0f} ms at {before.path}"


def _seen_before(evidence: Evidence) -> ProbeResult | None:
    """The probe before this one, if it is recent enough to count as a repeat."""
    apart_s = evidence.probe.taken_at - evidence.probe_before.taken_at
    return evidence.probe_before.or_none() if apart_s <= signs.PROBE_BEFORE_S else None


def _before(evidence: Evidence, probe: ProbeResult, path: PathProbe) -> PathProbe | None:
    name = _hop_before(evidence, path.path)
    return next((each for each in probe.paths if each.path == name), None)


def _hop_before(evidence: Evidence, path: str) -> str | None:
    if path == OKOME.value:
        return "gpu"
    if path == "frontend" or path in evidence.nodes:
        return "gpu" if evidence.topology.stream_path == "gpu" else OKOME.value
    return None


def _stream(evidence: Evidence, code: str, path: str, **more: str) -> Finding:
    hop = hop_of(evidence, path)
    probe = evidence.probe.or_none()
    told = () if probe is None else tuple(_measured(each, evidence) for each in probe.paths)
    way_around = words.way_around(evidence) if hop.is_node else ""
    fields = {
        "hop": hop.shown,
        "cure": hop.cure,
        "way_around": way_around,
        "open_okome": words.fleet_words(evidence)["open_okome"] if hop.is_node else "",
        "redeploy": f"Redeploy {hop.subject}",
        "redeploy_command": f"{evidence.command} deploy {hop.subject}" if hop.is_node else "",
        "differs": f"See whether it serves what it should: {evidence.command} plan {hop.subject}"
        if hop.is_node
        else "",
    }
    return finding(evidence, code, hop.subject, told, fields | more)


def _measured(path: PathProbe, evidence: Evidence) -> Seen:
    stats = path.plain
    if not stats.ok:
        text = f"failed: {stats.error or 'no reason given'}"
    else:
        parts = [f"{stats.tokens} tokens"]
        parts += [f"burst {stats.burst:.1f}"] if stats.burst is not None else []
        parts += [f"first token {stats.ttft_ms:.0f} ms"] if stats.ttft_ms is not None else []
        parts += [f"median gap {stats.gap_ms.p50:.0f} ms"] if stats.gap_ms.p50 is not None else []
        parts += [f"longest gap {stats.gap_ms.max:.0f} ms"] if stats.gap_ms.max is not None else []
        if path.gzip is not None and path.gzip.buffered and not stats.buffered:
            parts += ["in clumps for clients that offer gzip"]
        text = ", ".join(parts)
    return Seen(f"stream through {path.path}", text, evidence.probe.taken_at)
