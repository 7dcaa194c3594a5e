"""What the stream probe says: the hop that clumps, breaks or slows.

The hop is the first one that adds the fault; a hop that passes on a fault from before it is fine.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kome_tui.signals.readings import PathProbe
from kome_tui.topology.model import UpstreamName
from kome_tui.triage import signs, words
from kome_tui.triage.findings import finding
from kome_tui.triage.model import Evidence, Finding, Seen

OKOME = UpstreamName.OKOME


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


def stream_slow(evidence: Evidence) -> Iterable[Finding]:
    """The probe names a hop that slows down."""
    probe = evidence.probe.or_none()
    if probe is not None and probe.verdict.slow_hop is not None:
        yield _stream(evidence, "stream-slow", probe.verdict.slow_hop)


def stream_broken(evidence: Evidence) -> Iterable[Finding]:
    """A hop breaks a stream that the hop before it delivers whole."""
    probe = evidence.probe.or_none()
    if probe is None or evidence.probe.age_s(evidence.now) > signs.PROBE_FRESH_S:
        return
    whole = {path.path: path.plain.ok for path in probe.paths}
    for path in probe.paths:
        before = _hop_before(evidence, path.path)
        if _broken(path) and before is not None and whole.get(before):
            yield _stream(evidence, "stream-broken", path.path)


def _broken(path: PathProbe) -> bool:
    """It broke; that our own time limit was over first says nothing of the hop."""
    error = path.plain.error or ""
    return not path.plain.ok and "in time" not in error and "time was over" not in error


def _hop_before(evidence: Evidence, path: str) -> str | None:
    if path == OKOME.value:
        return "gpu"
    if path == "frontend" or path in evidence.nodes:
        return "gpu" if evidence.topology.stream_path == "gpu" else OKOME.value
    return None


def _stream(evidence: Evidence, code: str, path: str) -> Finding:
    hop = hop_of(evidence, path)
    probe = evidence.probe.or_none()
    told = () if probe is None else tuple(_measured(each, evidence) for each in probe.paths)
    way_around = words.way_around(evidence) if hop.is_node else ""
    return finding(
        evidence,
        code,
        hop.subject,
        told,
        hop=hop.shown,
        cure=hop.cure,
        way_around=way_around,
        open_okome=words.fleet_words(evidence)["open_okome"] if hop.is_node else "",
        redeploy=f"Redeploy {hop.subject}",
        redeploy_command=f"kome-tui deploy {hop.subject}" if hop.is_node else "",
    )


def _measured(path: PathProbe, evidence: Evidence) -> Seen:
    stats = path.plain
    if not stats.ok:
        text = f"failed: {stats.error or 'no reason given'}"
    else:
        parts = [f"{stats.tokens} tokens"]
        parts += [f"burst {stats.burst:.1f}"] if stats.burst is not None else []
        parts += [f"longest gap {stats.gap_ms.max:.0f} ms"] if stats.gap_ms.max is not None else []
        if path.gzip is not None and path.gzip.buffered and not stats.buffered:
            parts += ["in clumps for clients that offer gzip"]
        text = ", ".join(parts)
    return Seen(f"stream through {path.path}", text, evidence.probe.taken_at)
