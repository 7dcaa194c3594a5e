"""A state as the command line's JSON (the contract of `status --json`).

Every number that is not known is null, and `missing` says why, by the field's name.
"""

from dataclasses import dataclass, field

from kome_tui.reading import Missing, Reading
from kome_tui.signals.readings import Check, Traffic
from kome_tui.state import ConsoleState, NodeState, upstream_state
from kome_tui.topology.model import UpstreamName
from kome_tui.triage import signs
from kome_tui.triage.report import iso

WINDOW_S = 900


def status_json(state: ConsoleState) -> dict[str, object]:
    """The object that `status --json` prints."""
    return {
        "taken_at": iso(state.now),
        "nodes": {name: _node(node) for name, node in state.nodes.items()},
        "upstreams": {upstream.value: _upstream(state, upstream) for upstream in UpstreamName},
    }


@dataclass
class _Fields:
    """Collects why fields are null."""

    missing: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, value: float | int | str | None, why: str) -> object:
        """The value; where it is None, `why` is noted."""
        if value is None:
            self.missing[name] = why
        return value


def _node(node: NodeState) -> dict[str, object]:
    fields = _Fields()
    facts = node.facts.or_none()
    no_facts = node.facts.why_missing or "the node could not tell"
    ssh = _ssh(node)
    answer: dict[str, object] = {
        "role": node.role.value,
        "address": node.address,
        "ssh": ssh,
        "nginx": _nginx(node),
        "release": {
            "wanted": fields.number("release.wanted", node.wanted, "it does not render"),
            "live": fields.number(
                "release.live",
                facts.live if facts else None,
                "it serves a configuration of its own" if facts else no_facts,
            ),
            "drift": fields.number("release.drift", facts.drift if facts else None, no_facts),
        },
        "cache": _cache(node, fields),
        "requests_per_s": _traffic_number(node, fields, "requests_per_s"),
        "errors_5xx": _traffic_number(node, fields, "errors_5xx"),
        "connections": fields.number("connections", facts.connections if facts else None, no_facts),
        "disk_free_bytes": fields.number(
            "disk_free_bytes", facts.disk_free_bytes if facts else None, no_facts
        ),
    }
    if node.ssh.or_none() != "ok":
        fields.missing["ssh"] = (
            node.ssh_reason or node.ssh.why_missing or node.ssh.or_none() or "not asked"
        )
    return answer | {"missing": fields.missing}


def _ssh(node: NodeState) -> str:
    """A word of the contract, which has none for "our own ssh does not work": why is in missing."""
    ssh = node.ssh.or_none()
    if ssh == "not-set-up":
        return "ok"
    return "unreachable" if ssh is None else ssh


def _nginx(node: NodeState) -> str:
    """In one word: the node's own, else what its port says."""
    facts = node.facts.or_none()
    if signs.answers(node.health):
        return "serving"
    if facts is not None and facts.nginx != "unknown":
        return facts.nginx
    if not signs.silent(node.health):
        return "unknown"
    ssh = node.ssh.or_none()
    return (
        "stopped"
        if ssh not in ("unreachable", None) and signs.refused(node.health)
        else "unreachable"
    )


def _cache(node: NodeState, fields: _Fields) -> dict[str, object]:
    traffic, facts = node.traffic.or_none(), node.facts.or_none()
    counts = traffic.last_quarter if traffic else None
    why = _why_no_rate(node.traffic)
    no_facts = node.facts.why_missing or "the node could not tell"
    rate = counts.rate if counts else None
    if rate is None:
        fields.missing["cache.hit_rate"] = why or ""
    no_counts = node.traffic.why_missing or ""
    return {
        "hit_rate": None if rate is None else round(rate, 4),
        "hits": fields.number("cache.hits", counts.hits if counts else None, no_counts),
        "misses": fields.number("cache.misses", counts.misses if counts else None, no_counts),
        "other": fields.number("cache.other", counts.other if counts else None, no_counts),
        "window_s": WINDOW_S,
        "why": why,
        "size_bytes": fields.number(
            "cache.size_bytes", facts.cache_bytes if facts else None, no_facts
        ),
        "files": fields.number("cache.files", facts.cache_files if facts else None, no_facts),
    }


def _why_no_rate(traffic: Reading[Traffic]) -> str | None:
    if isinstance(traffic.value, Missing):
        return traffic.value.reason
    if traffic.value.last_quarter.rate is None:
        return f"no cacheable request in {WINDOW_S // 60} min"
    return None


def _traffic_number(node: NodeState, fields: _Fields, name: str) -> object:
    traffic = node.traffic.or_none()
    values = (
        {}
        if traffic is None
        else {
            "requests_per_s": round(traffic.requests_per_s, 3),
            "errors_5xx": traffic.errors_5xx,
        }
    )
    return fields.number(name, values.get(name), node.traffic.why_missing or "not counted")


def _upstream(state: ConsoleState, upstream: UpstreamName) -> dict[str, object]:
    views = state.upstreams.get(upstream, {})
    return {
        "state": upstream_state(state, upstream),
        "from": {vantage: _view(reading) for vantage, reading in views.items()},
    }


def _view(reading: Reading[Check]) -> dict[str, object]:
    if isinstance(reading.value, Missing):
        return {"state": "unknown", "latency_ms": None, "reason": reading.value.reason}
    latency_ms = reading.value.latency_ms
    return {
        "state": reading.value.state,
        "latency_ms": None if latency_ms is None else round(latency_ms, 3),
        "reason": reading.value.reason,
    }
