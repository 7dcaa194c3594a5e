"""The JSON that scripts rely on, written down once more and independently of the code.

An answer with a key missing, or a key too many, does not validate.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Outcome = Literal[
    "committed", "unchanged", "rolled-back", "untouched", "unreachable", "refused", "degraded"
]
UpState = Literal["up", "degraded", "down", "unknown"]
UpstreamName = Literal["okome", "vllm", "ollama", "tf-rest", "tf-grpc", "redis"]
ReleaseId = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{12}|original)$")]


class Problem(Answer):
    file: str
    line: int
    column: int
    path: str
    message: str


class NodeLint(Answer):
    node: str
    file: str
    line: int
    rule: str
    message: str


class DiskBudget(Answer):
    total_bytes: int
    allowed_bytes: int
    cache_bytes: int
    logs_bytes: int
    releases_bytes: int
    system_bytes: int


class CheckAnswer(Answer):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    ok: bool
    problems: list[Problem]
    lint: list[NodeLint]
    releases: dict[str, ReleaseId]
    host_files: dict[str, ReleaseId]
    disk: dict[str, DiskBudget]


class Lint(Answer):
    file: str
    line: int
    rule: str
    severity: str
    message: str
    fix: str


class LintAnswer(Answer):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    findings: list[Lint]


class NodePlan(Answer):
    live: ReleaseId | None
    wanted: ReleaseId
    changed: bool
    drift: bool | None
    diff: str
    reason: str | None


class PlanAnswer(Answer):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    nodes: dict[str, NodePlan]


class NodeOutcome(Answer):
    outcome: Outcome
    release: ReleaseId | None
    previous: ReleaseId | None
    seconds: float
    reason: str | None


class PushAnswer(Answer):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    result: Literal["ok", "failed", "refused"]
    seconds: float
    nodes: dict[str, NodeOutcome]

    def outcomes(self) -> dict[str, str]:
        return {name: seen.outcome for name, seen in self.nodes.items()}


class NodeRelease(Answer):
    wanted: ReleaseId | None
    live: ReleaseId | None
    drift: bool | None


class NodeCache(Answer):
    hit_rate: Annotated[float, Field(ge=0, le=1)] | None
    hits: int | None
    misses: int | None
    other: int | None
    window_s: Literal[900]
    why: str | None
    size_bytes: int | None
    files: int | None


class NodeAnswer(Answer):
    role: Literal["frontend", "ingress", "cache-stream", "speculative-gpu", "observability"]
    address: str
    ssh: Literal["ok", "unreachable", "auth-failed", "host-key-changed", "host-key-unknown"]
    nginx: Literal["serving", "stopped", "unreachable", "unknown"]
    release: NodeRelease
    cache: NodeCache
    requests_per_s: float | None
    errors_5xx: int | None
    connections: int | None
    disk_free_bytes: int | None
    missing: dict[str, str]


class View(Answer):
    state: UpState
    latency_ms: float | None
    reason: str | None


class UpstreamAnswer(Answer):
    state: UpState
    from_: Annotated[dict[str, View], Field(alias="from")]


class StatusAnswer(Answer):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    taken_at: str
    nodes: dict[str, NodeAnswer]
    upstreams: dict[UpstreamName, UpstreamAnswer]


class Gaps(Answer):
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Stream(Answer):
    ok: bool
    error: str | None
    ttft_ms: float | None
    chunks: int
    tokens: int
    gap_ms: Gaps
    tpot_ms: float | None
    stalls: int
    burst: Annotated[float, Field(ge=1)] | None
    buffered: bool
    arrivals_ns: list[int]


class PathAnswer(Stream):
    gzip: Stream | None


class ProbeVerdict(Answer):
    buffering_hop: str | None
    slow_hop: str | None
    text: str


class ProbeAnswer(Answer):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    paths: dict[str, PathAnswer]
    verdict: ProbeVerdict


class Seen(Answer):
    source: str
    seen: str
    at: str


class FindingAction(Answer):
    name: str
    command: str


class Finding(Answer):
    code: str
    severity: Literal["info", "warning", "critical"]
    subject: str
    title: str
    evidence: Annotated[list[Seen], Field(min_length=1)]
    guidance: Annotated[list[str], Field(min_length=1)]
    actions: list[FindingAction]
    cause_of: list[str]


class TriageAnswer(Answer):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    verdict: Literal["healthy", "degraded", "outage"]
    seconds: float
    findings: list[Finding]

    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings]
