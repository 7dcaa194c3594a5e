"""Evidence for tests: a healthy fleet of four nodes, and what is different about it.

Readings are written short: `up`, `degraded`, `refused`, `timeout`, `no answer`, `unknown`,
`missing`, an HTTP status, or an object with the fields of a Check.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kome_tui.fleet.answers import NodeFacts
from kome_tui.reading import Missing, Reading, not_yet
from kome_tui.signals.readings import (
    Check,
    Gaps,
    HitCounts,
    PathProbe,
    ProbeResult,
    ProbeVerdict,
    Request,
    StreamStats,
    Traffic,
)
from kome_tui.topology.model import Topology, UpstreamName
from kome_tui.triage.model import OPERATOR, Evidence, NodeEvidence

NOW = 1_800_000_000.0
AGE_S = 2.0
WANTED = "0123456789ab"
FRONTEND = "kome"
OKOME_URL = "http://192.168.86.25:8000"

_REASONS = {
    "refused": ("down", "refused"),
    "timeout": ("down", "timed out after 2 s"),
    "no answer": ("down", "connected, but no answer within 2 s"),
    "degraded": ("degraded", 'reports "degraded"'),
    "unknown": ("unknown", f"cannot look from {FRONTEND}: its SSH server forbids it"),
}


def a_topology(nodes: tuple[str, ...] = ("node-01", "node-02", "node-03"), **more: Any) -> Topology:
    """A frontend and some ingress nodes, at the addresses of the LAN. Nothing connects to them."""
    host = {f"192.168.86.{41 + number}": name for number, name in enumerate(nodes)}
    values: dict[str, Any] = {
        "lan": ["192.168.86.0/24"],
        "upstreams": {
            "okome": {"address": "192.168.86.25", "port": 8000},
            "vllm": {"address": "192.168.86.30", "port": 8000},
            "ollama": {"address": "192.168.86.30", "port": 11434},
            "tf-rest": {"address": "192.168.86.30", "port": 8501},
            "tf-grpc": {"address": "192.168.86.30", "port": 8500},
            "redis": {"address": "192.168.86.19", "port": 6379},
        },
        "nodes": {
            FRONTEND: {"role": "frontend", "address": "192.168.86.20"},
            **{name: {"role": "ingress", "address": address} for address, name in host.items()},
        },
    }
    return Topology.model_validate(values | more)


def a_check(short: object) -> Check:
    """A check from its short form."""
    if isinstance(short, Mapping):
        fields = dict(short)
        return replace(a_check(fields.pop("like", "up")), **fields)
    if isinstance(short, int):
        good = short < 400
        return Check(
            "up" if good else "degraded", 12.0, None if good else f"answered {short}", short
        )
    if short == "up":
        return Check("up", 12.0, None, 200)
    state, reason = _REASONS[str(short)]
    return Check(state, None, reason)  # type: ignore[arg-type]


def a_reading(short: object, at: float = NOW - AGE_S) -> Reading[Check]:
    """A reading of a check from its short form; `missing` is one without a value."""
    return Reading(Missing("not asked") if short == "missing" else a_check(short), at)


def facts(**changes: Any) -> NodeFacts:
    """What a node in good health says of itself."""
    good = NodeFacts(
        live=WANTED,
        drift=False,
        nginx="serving",
        connections=3,
        cpu_percent=0.4,
        memory_bytes=60_000_000,
        cache_bytes=1_000_000,
        cache_files=20,
        disk_free_bytes=8_000_000_000,
        old_workers=0,
    )
    return replace(good, **changes)


def a_node(**different: Any) -> NodeEvidence:
    """A node: `ssh`, `ssh_reason`, `facts` (changes, or `missing`), `facts_age_s`, `health`,
    `traffic`."""
    at = NOW - AGE_S
    facts_at = NOW - different.get("facts_age_s", AGE_S)
    told = different.get("facts", {})
    ssh = different.get("ssh", "ok")
    gone = told == "missing" or ssh != "ok"
    return NodeEvidence(
        ssh=Reading(Missing("not asked") if ssh == "missing" else ssh, at),
        facts=Reading(Missing("no SSH") if gone else facts(**told), facts_at),
        wanted=WANTED,
        health=a_reading(different.get("health", "up")),
        traffic=a_traffic(different["traffic"]) if "traffic" in different else not_yet(),
        ssh_reason=different.get("ssh_reason"),
    )


def a_traffic(different: Mapping[str, Any]) -> Reading[Traffic]:
    """Counts of the last quarter of an hour: `hits`, `misses`; `recent` as [cache, status, n]."""
    counts = HitCounts(different.get("hits", 0), different.get("misses", 0), 0, 900.0)
    recent = tuple(
        Request(NOW - AGE_S, "n", status, cache, "GET", "/", 0.01, "192.168.86.99")
        for cache, status, count in different.get("recent", [])
        for _ in range(count)
    )
    top = (("/assets/a.js", 9),)
    return Reading(Traffic(counts, counts, counts, 1.0, 0, NOW - AGE_S, top, recent), NOW - AGE_S)


def stream(burst: float = 1.0, **different: Any) -> StreamStats:
    """A stream of 48 tokens."""
    steady = StreamStats(
        ok=True,
        error=None,
        ttft_ms=40.0,
        chunks=48,
        tokens=48,
        gap_ms=Gaps(20.0, 21.0, 22.0, 25.0 * burst),
        tpot_ms=20.0,
        stalls=0,
        burst=burst,
        buffered=burst >= 6,
        arrivals_ns=(),
    )
    return replace(steady, **different)


def refused(error: str) -> StreamStats:
    """A stream that never began."""
    none = {"ttft_ms": None, "tpot_ms": None, "burst": None, "chunks": 0, "tokens": 0}
    return replace(stream(), ok=False, error=error, gap_ms=Gaps(None, None, None, None), **none)


def a_probe(different: Mapping[str, Any]) -> Reading[ProbeResult]:
    """A probe of frontend, okome and gpu: `broken` paths, `refused` ones with the error,
    `stalling` ones (`once`: in the first stream only), `buffering_hop`, `slow_hop` (`slow_ms` late;
    `once`), `age_s`."""
    clumps = different.get("buffering_hop")
    late_ms = different.get("slow_ms", 900.0)

    def measured(path: str, *, again: bool) -> StreamStats:
        if path in different.get("refused", {}):
            return refused(different["refused"][path])
        if path in different.get("broken", []):
            return stream(ok=False, error="stream broke after 20 tokens", chunks=20, tokens=20)
        if path == clumps:
            return stream(12.0, ttft_ms=late_ms if path == different.get("slow_hop") else 40.0)
        if again and different.get("once"):
            return stream()
        if path in different.get("stalling", []):
            return stream(stalls=2, gap_ms=Gaps(20.0, 21.0, 2000.0, 3200.0))
        return stream(ttft_ms=late_ms) if path == different.get("slow_hop") else stream()

    paths = tuple(
        PathProbe(path, measured(path, again=False), measured(path, again=True))
        for path in ("frontend", "okome", "gpu")
    )
    verdict = ProbeVerdict(clumps, different.get("slow_hop"), "as built")
    return Reading(ProbeResult(paths, verdict), NOW - different.get("age_s", AGE_S))


def evidence(seen: Mapping[str, Any] | None = None, topology: Topology | None = None) -> Evidence:
    """A healthy fleet, but for what `seen` says.

    Keys: a node's name, an upstream's name (by vantage point), `page`, `api`, `way_around`,
    `probe`, `probe_before`. `all nodes` and `all upstreams` stand for every one that is not named.
    """
    given = dict(seen or {})
    topology = topology or a_topology(**given.pop("topology", {}))
    for_nodes = given.pop("all nodes", {})
    for_upstreams = given.pop("all upstreams", {})
    nodes = {name: a_node(**given.pop(name, for_nodes)) for name in topology.nodes}
    upstreams = {}
    for upstream in UpstreamName:
        views = given.pop(upstream.value, for_upstreams)
        ages = views.get("age_s", {}) if isinstance(views, Mapping) else {}
        upstreams[upstream] = {
            vantage: a_reading(views.get(vantage, "up"), NOW - ages.get(vantage, AGE_S))
            for vantage in (OPERATOR, topology.frontend)
        }
    services = {name: a_reading(given.pop(name, "up")) for name in ("page", "api", "way_around")}
    probe, before = given.pop("probe", None), given.pop("probe_before", None)
    assert not given, f"unknown keys in a case: {sorted(given)}"
    return Evidence(
        topology=topology,
        now=NOW,
        nodes=nodes,
        upstreams=upstreams,
        probe=a_probe(probe) if probe is not None else not_yet("no probe yet"),
        probe_before=a_probe({"age_s": 60} | before) if before is not None else not_yet(),
        **services,
    )
