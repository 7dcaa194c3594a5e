"""Faults of machines: off the network, without nginx, closed to us, changed by hand.

A rule fires on what was seen only; Missing never means "down".
"""

from collections.abc import Callable, Iterable

from kome_tui.fleet.answers import NodeFacts
from kome_tui.topology.model import Role, UpstreamName
from kome_tui.triage import signs, words
from kome_tui.triage.findings import about_nodes, finding
from kome_tui.triage.model import OPERATOR, Evidence, Finding, NodeEvidence, Seen

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
    """Neither SSH nor HTTP of the frontend answers, and something does, be it with a refusal."""
    name = evidence.topology.frontend
    node = evidence.nodes[name]
    if signs.off_the_network(node) and signs.anything_answers(evidence):
        others = words.seen("OKOME itself from this laptop", evidence.way_around)
        gone = words.ssh_seen(name, node) + words.health_seen(name, node)
        gone_how = words.gone_words((name,), refuses=signs.refuses(node))
        yield about_nodes(evidence, "frontend-unreachable", (name,), gone + others, gone_how)


def edge_unreachable(evidence: Evidence) -> Iterable[Finding]:
    """Neither SSH nor HTTP of an edge node answers."""
    frontend = evidence.topology.frontend
    for refuses in (False, True):
        gone = [
            name
            for name, node in evidence.nodes.items()
            if name != frontend and signs.off_the_network(node) and signs.refuses(node) is refuses
        ]
        for names in words.groups(gone, frontend):
            told = words.both_seen(evidence, names)
            gone_how = words.gone_words(names, refuses=refuses)
            yield about_nodes(evidence, "edge-unreachable", names, told, gone_how)


_EFFECTS = {
    Role.INGRESS: "Who comes in through them gets nothing; {frontend} goes to OKOME by itself.",
    Role.CACHE_STREAM: "The ingress nodes have nobody to hand files to, and ask OKOME for each.",
    Role.SPECULATIVE_GPU: "Who asks them gets nothing; {frontend} goes to OKOME by itself.",
    Role.OBSERVABILITY: "Dashboards do not open. Pages, API and streams are not affected.",
}


def role_down(evidence: Evidence) -> Iterable[Finding]:
    """None of several nodes of a role answers HTTP."""
    for role, effect in _EFFECTS.items():
        names = evidence.topology.with_role(role)
        if len(names) < 2 or not all(signs.silent(evidence.nodes[name].health) for name in names):
            continue
        if not signs.anything_answers(evidence):
            continue
        told = tuple(
            piece for name in names for piece in words.health_seen(name, evidence.nodes[name])
        )
        fields = words.node_words(evidence, names)
        fields |= {"role": role.value, "effect": effect.format(frontend=evidence.topology.frontend)}
        yield finding(evidence, "role-down", role.value, told, fields)


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
    return not signs.ssh_silent(node) and signs.refused(node.health)


def frontend_port_blocked(evidence: Evidence) -> Iterable[Finding]:
    """The frontend says that its nginx serves, and this laptop gets nothing from its port."""
    name = evidence.topology.frontend
    node = evidence.nodes[name]
    facts = signs.fresh_facts(node, evidence.now)
    serves = facts is not None and facts.nginx == "serving"
    # Its word must be the later one, or nginx going down would look like this for a moment.
    together = 0 <= node.facts.taken_at - node.health.taken_at <= signs.SAME_LOOK_S
    if serves and together and signs.at_the_door(node.health):
        yield about_nodes(evidence, "frontend-port-blocked", (name,), _nginx_seen(name, node))


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
    # Every release of ours answers there; what does not is none, though nobody could ask the node.
    foreign = [
        name
        for name, node in evidence.nodes.items()
        if node.facts.or_none() is None and signs.not_found(node.health)
    ]
    for names in words.groups(foreign, evidence.topology.frontend):
        told = tuple(
            piece for name in names for piece in words.health_seen(name, evidence.nodes[name])
        )
        yield about_nodes(evidence, "not-deployed", names, told)


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
