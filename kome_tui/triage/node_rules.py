"""Faults of machines: off the network, without nginx, changed by hand, closed to our SSH.

A rule fires on what was seen only; Missing never means "down".
"""

from collections.abc import Callable, Iterable, Sequence

from kome_tui.fleet.answers import NodeFacts
from kome_tui.topology.model import UpstreamName
from kome_tui.triage import signs, words
from kome_tui.triage.findings import about_nodes, finding
from kome_tui.triage.model import OPERATOR, Evidence, Finding, NodeEvidence, Seen, SshState

OKOME = UpstreamName.OKOME
_NOT_OURS = (None, "original")


def operator_offline(evidence: Evidence) -> Iterable[Finding]:
    """Nothing at all answers, though the frontend and OKOME were both asked."""
    frontend = evidence.nodes[evidence.topology.frontend]
    if signs.anything_answers(evidence) or not (
        signs.off_the_network(frontend) and signs.silent(signs.view(evidence, OKOME))
    ):
        return
    name = evidence.topology.frontend
    yield finding(
        evidence,
        "operator-offline",
        OPERATOR,
        words.ssh_seen(name, frontend)
        + words.health_seen(name, frontend)
        + words.upstream_seen(evidence, OKOME),
    )


def frontend_unreachable(evidence: Evidence) -> Iterable[Finding]:
    """Neither SSH nor HTTP of the frontend answers, and something else does."""
    name = evidence.topology.frontend
    node = evidence.nodes[name]
    if signs.off_the_network(node) and signs.anything_answers(evidence):
        others = words.seen("OKOME itself from this laptop", evidence.way_around)
        gone = words.ssh_seen(name, node) + words.health_seen(name, node)
        yield about_nodes(evidence, "frontend-unreachable", (name,), gone + others)


def edge_unreachable(evidence: Evidence) -> Iterable[Finding]:
    """Neither SSH nor HTTP of an edge node answers."""
    frontend = evidence.topology.frontend
    gone = [
        name
        for name, node in evidence.nodes.items()
        if name != frontend and signs.off_the_network(node)
    ]
    for names in words.groups(gone, frontend):
        yield about_nodes(evidence, "edge-unreachable", names, _both_seen(evidence, names))


def nginx_down(evidence: Evidence) -> Iterable[Finding]:
    """The machine answers, and nginx does not."""
    stopped = [name for name, node in evidence.nodes.items() if _nginx_stopped(node, evidence.now)]
    for names in words.groups(stopped, evidence.topology.frontend):
        is_frontend = names == (evidence.topology.frontend,)
        yield about_nodes(
            evidence,
            "nginx-down",
            names,
            tuple(piece for name in names for piece in _nginx_seen(name, evidence.nodes[name])),
            severity="critical" if is_frontend else "warning",
        )


def _nginx_stopped(node: NodeEvidence, now: float) -> bool:
    if signs.answers(node.health):
        return False
    facts = signs.fresh_facts(node, now)
    if facts is not None and facts.nginx != "unknown":
        return facts.nginx == "stopped"
    return signs.ssh_answers(node) and signs.refused(node.health)


def _nginx_seen(name: str, node: NodeEvidence) -> tuple[Seen, ...]:
    facts = node.facts.or_none()
    told = (
        ()
        if facts is None
        else (Seen(f"{name} itself", f"nginx {facts.nginx}", node.facts.taken_at),)
    )
    return told + words.health_seen(name, node)


def config_drift(evidence: Evidence) -> Iterable[Finding]:
    """A node serves something else than the release its link names."""

    def drifted(node: NodeEvidence) -> bool:
        facts = signs.fresh_facts(node, evidence.now)
        return facts is not None and facts.drift

    yield from _by_facts(evidence, "config-drift", drifted, lambda _: "changed since the last push")


def not_deployed(evidence: Evidence) -> Iterable[Finding]:
    """A node serves what it served before it was ours."""

    def own(node: NodeEvidence) -> bool:
        facts = _unharmed(node, evidence.now)
        return facts is not None and facts.live in _NOT_OURS

    yield from _by_facts(evidence, "not-deployed", own, _serves)


def release_pending(evidence: Evidence) -> Iterable[Finding]:
    """A node serves a release of ours, unharmed, that is not the wanted one."""

    def pending(node: NodeEvidence) -> bool:
        facts = _unharmed(node, evidence.now)
        ours = facts is not None and facts.live not in _NOT_OURS
        return ours and facts is not None and node.wanted not in (None, facts.live)

    yield from _by_facts(evidence, "release-pending", pending, _serves)


def _unharmed(node: NodeEvidence, now: float) -> NodeFacts | None:
    facts = signs.fresh_facts(node, now)
    return None if facts is None or facts.drift else facts


def _serves(node: NodeEvidence) -> str:
    facts = node.facts.or_none()
    live = facts.live if facts is not None else None
    return f"serves {live or 'a configuration of its own'}, wanted is {node.wanted}"


def _by_facts(
    evidence: Evidence,
    code: str,
    holds: Callable[[NodeEvidence], bool],
    told: Callable[[NodeEvidence], str],
) -> Iterable[Finding]:
    found = [name for name, node in evidence.nodes.items() if holds(node)]
    for names in words.groups(found, evidence.topology.frontend):
        pieces = tuple(
            Seen(f"{name} itself", told(evidence.nodes[name]), evidence.nodes[name].facts.taken_at)
            for name in names
        )
        yield about_nodes(evidence, code, names, pieces)


_SSH_CODES: tuple[tuple[SshState, str], ...] = (
    ("auth-failed", "ssh-auth-failed"),
    ("host-key-changed", "host-key-changed"),
    ("host-key-unknown", "host-key-unknown"),
    ("not-set-up", "not-set-up"),
)


def ssh_refuses(evidence: Evidence) -> Iterable[Finding]:
    """SSH answers and does not let us in, or there is nothing of ours behind it."""
    for state, code in _SSH_CODES:
        held = [name for name, node in evidence.nodes.items() if node.ssh.or_none() == state]
        for names in words.groups(held, evidence.topology.frontend):
            yield about_nodes(evidence, code, names, _ssh_seen(evidence, names))


def ssh_unreachable(evidence: Evidence) -> Iterable[Finding]:
    """SSH does not answer, and HTTP does: the machine is there."""
    held = [
        name
        for name, node in evidence.nodes.items()
        if signs.ssh_silent(node) and signs.answers(node.health)
    ]
    for names in words.groups(held, evidence.topology.frontend):
        yield about_nodes(evidence, "ssh-unreachable", names, _both_seen(evidence, names))


def _ssh_seen(evidence: Evidence, names: Sequence[str]) -> tuple[Seen, ...]:
    return tuple(piece for name in names for piece in words.ssh_seen(name, evidence.nodes[name]))


def _both_seen(evidence: Evidence, names: Sequence[str]) -> tuple[Seen, ...]:
    return tuple(
        piece
        for name in names
        for piece in words.ssh_seen(name, evidence.nodes[name])
        + words.health_seen(name, evidence.nodes[name])
    )
