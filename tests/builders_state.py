"""Made-up states of the console: a fleet of 11 nodes, in order or in trouble."""

from collections.abc import Mapping
from dataclasses import replace

from kome_tui.fleet.answers import NodeFacts
from kome_tui.reading import Missing, Reading
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
from kome_tui.state import ConsoleState, LogEntry, NodeState
from kome_tui.topology.model import Role, Topology, UpstreamName
from kome_tui.triage.model import OPERATOR, Action, Diagnosis, Finding, Seen

NOW = 1_800_000_000.0
WANTED = "3f9c1ab27d04"
BEHIND = "a81e55c0d9f2"

ROLES: Mapping[str, Role] = {
    "frontend": Role.FRONTEND,
    "node-01": Role.INGRESS,
    "node-02": Role.INGRESS,
    "node-03": Role.CACHE_STREAM,
    "node-04": Role.CACHE_STREAM,
    "node-05": Role.CACHE_STREAM,
    "node-06": Role.CACHE_STREAM,
    "node-07": Role.SPECULATIVE_GPU,
    "node-08": Role.SPECULATIVE_GPU,
    "node-09": Role.OBSERVABILITY,
    "node-10": Role.OBSERVABILITY,
}


def a_topology() -> Topology:
    """Eleven nodes on loopback."""
    ports = {"okome": 8000, "vllm": 8001, "ollama": 8002, "tf-rest": 8003, "tf-grpc": 8004}
    endpoints = {name: {"address": "127.0.0.1", "port": port} for name, port in ports.items()}
    endpoints["redis"] = {"address": "127.0.0.1", "port": 6379}
    return Topology.model_validate(
        {
            "fleet": "home",
            "lan": ["127.0.0.0/8"],
            "upstreams": endpoints,
            "nodes": {
                name: {"role": role.value, "address": "127.0.0.1", "port": 9000 + number}
                for number, (name, role) in enumerate(ROLES.items())
            },
        }
    )


def facts(**changes: object) -> Reading[NodeFacts]:
    """A healthy node that serves what is wanted."""
    healthy = NodeFacts(
        live=WANTED,
        drift=False,
        nginx="serving",
        connections=12,
        cpu_percent=1.2,
        memory_bytes=48_000_000,
        cache_bytes=212_000_000,
        cache_files=1841,
        disk_free_bytes=11_400_000_000,
        old_workers=0,
    )
    return Reading(replace(healthy, **changes), NOW - 1)  # type: ignore[arg-type]


def traffic(node: str = "node-01", hits: int = 312, misses: int = 28) -> Reading[Traffic]:
    """A node that serves from its cache."""
    counts = HitCounts(hits, misses, 40, 60.0)
    requests = tuple(
        Request(
            NOW - 10 + at,
            node,
            200,
            "HIT" if at % 3 else "MISS",
            "GET",
            f"/assets/app-{at}.js",
            0.003 + at / 1000,
            "127.0.0.1",
        )
        for at in range(8)
    )
    return Reading(
        Traffic(
            last_minute=counts,
            last_quarter=replace(counts, window_s=900.0),
            since_start=replace(counts, window_s=0.0),
            requests_per_s=6.3,
            errors_5xx=0,
            newest_line_at=NOW - 1,
            top_missed=(("/assets/big.bin", 12),),
            recent=requests,
        ),
        NOW - 1,
    )


def a_check(state: str = "up", latency_ms: float | None = 1.4, reason: str | None = None) -> Check:
    """A look at a service."""
    return Check(state, latency_ms, reason, 200 if state == "up" else None)  # type: ignore[arg-type]


def up(latency_ms: float = 1.4) -> Reading[Check]:
    """A service that answered a second ago."""
    return Reading(a_check(latency_ms=latency_ms), NOW - 1)


def down(reason: str) -> Reading[Check]:
    """A service that did not."""
    return Reading(a_check("down", None, reason), NOW - 2)


def a_node(name: str, **changes: object) -> NodeState:
    """One node in order."""
    node = NodeState(
        name=name,
        role=ROLES[name],
        address="127.0.0.1",
        wanted=WANTED,
        ssh=Reading("ok", NOW - 1),
        facts=facts(),
        health=up(0.6),
        traffic=traffic(name),
    )
    return replace(node, **changes)  # type: ignore[arg-type]


def new_state(**changes: object) -> ConsoleState:
    """The state before the first event."""
    nodes = {name: NodeState(name, role, "127.0.0.1", WANTED) for name, role in ROLES.items()}
    state = ConsoleState(
        topology=a_topology(),
        source="/etc/kome/home/topology.yaml",
        is_lab=False,
        read_only=False,
        now=NOW,
        nodes=nodes,
        upstreams={},
    )
    return replace(state, **changes)  # type: ignore[arg-type]


def healthy_state(**changes: object) -> ConsoleState:
    """Everything was measured, and all is well."""
    views = {OPERATOR: up(2.1), "frontend": up(0.4)}
    state = new_state(
        nodes={name: a_node(name) for name in ROLES},
        upstreams={name: dict(views) for name in UpstreamName},
        page=up(3.2),
        api=up(4.8),
        way_around=up(2.0),
        diagnosis=Reading(Diagnosis("healthy"), NOW - 3),
        probe=Reading(a_probe(), NOW - 30),
        events=tuple(
            LogEntry(NOW - 60 + at, "info", "node-01", f"connected, attempt {at}")
            for at in range(20)
        ),
    )
    return replace(state, **changes)  # type: ignore[arg-type]


def troubled_state(**changes: object) -> ConsoleState:
    """OKOME is down; one node drifted, one is unreachable, one is not set up, one is behind."""
    state = healthy_state()
    gone = Missing("no SSH connection: connection refused")
    nodes = {
        **state.nodes,
        "node-02": a_node("node-02", facts=facts(drift=True)),
        "node-04": a_node(
            "node-04",
            ssh=Reading("unreachable", NOW - 1),
            ssh_reason="connection refused",
            facts=Reading(gone, NOW - 1),
            traffic=Reading(gone, NOW - 1),
            health=down("connection refused"),
        ),
        "node-05": a_node("node-05", facts=facts(live=BEHIND), traffic=traffic("node-05", 0, 0)),
        "node-06": a_node(
            "node-06",
            ssh=Reading("not-set-up", NOW - 1),
            ssh_reason="there is no kome-node script",
            facts=Reading(Missing("the node is not set up"), NOW - 1),
        ),
        "node-09": a_node("node-09", facts=replace(facts(connections=None), taken_at=NOW - 42)),
    }
    upstreams = {
        **state.upstreams,
        UpstreamName.OKOME: {
            OPERATOR: down("connection refused"),
            "frontend": down("timed out after 3 s"),
        },
    }
    return replace(
        state,
        nodes=nodes,
        upstreams=upstreams,
        page=Reading(a_check("degraded", 12.0, "served from the cache, stale"), NOW - 1),
        api=down("502 Bad Gateway"),
        way_around=down("connection refused"),
        diagnosis=Reading(Diagnosis("outage", (okome_down(), drifted())), NOW - 3),
        **changes,
    )  # type: ignore[arg-type]


def okome_down() -> Finding:
    """The root cause of troubled_state."""
    return Finding(
        code="okome-down",
        severity="critical",
        subject="okome",
        title="OKOME does not answer, from here or from the frontend",
        evidence=(
            Seen("here", "127.0.0.1:8000 refused the connection", NOW - 4),
            Seen("frontend", "127.0.0.1:8000 timed out after 3 s", NOW - 5),
        ),
        guidance=(
            "Start OKOME again on its host: systemctl restart okome",
            "Static pages are served from the cache meanwhile; answers are not.",
        ),
        actions=(Action("Check everything again", "kome-tui triage"),),
        cause_of=("serving-stale",),
    )


def drifted() -> Finding:
    """A second finding, less urgent."""
    return Finding(
        code="config-drift",
        severity="warning",
        subject="node-02",
        title="node-02 serves a configuration that was changed by hand",
        evidence=(Seen("node-02", "the live file is not the one of its release", NOW - 6),),
        guidance=("Look at the difference, then push the wanted release.",),
        actions=(Action("Push again", "kome-tui deploy node-02 --accept-drift"),),
    )


def a_stream(gap_ms: float = 20.0, cluster: int = 1, tokens: int = 48) -> StreamStats:
    """A stream of `tokens`, arriving in clusters."""
    step = int(gap_ms * 1e6)
    arrivals = tuple(80_000_000 + (at // cluster) * cluster * step for at in range(tokens))
    buffered = cluster >= 6
    gaps = Gaps(gap_ms, gap_ms * 1.1, gap_ms * 1.3, gap_ms * max(1.5, cluster))
    return StreamStats(
        True, None, 80.0, tokens, tokens, gaps, gap_ms, 0, float(cluster), buffered, arrivals
    )


def a_failed_stream(error: str = "502 Bad Gateway") -> StreamStats:
    """A stream that never came."""
    nothing = Gaps(None, None, None, None)
    return StreamStats(False, error, None, 0, 0, nothing, None, 0, None, False, ())


def a_probe(frontend_cluster: int = 1) -> ProbeResult:
    """Three paths; the frontend's may clump."""
    buffering = "frontend" if frontend_cluster >= 6 else None
    text = (
        "The frontend buffers the stream." if buffering else "No hop buffers or slows the stream."
    )
    return ProbeResult(
        (
            PathProbe("gpu", a_stream(), a_stream()),
            PathProbe("okome", a_stream(20.3), a_stream(20.4)),
            PathProbe("frontend", a_stream(20.5, frontend_cluster), a_stream(20.6, 12)),
        ),
        ProbeVerdict(buffering, None, text),
    )
