"""Faults of SSH: of this laptop, which then knows nothing of any node, and of single nodes."""

from collections.abc import Iterable

from kome_tui.triage import signs, words
from kome_tui.triage.findings import about_nodes, finding
from kome_tui.triage.model import OPERATOR, Evidence, Finding, SshState

ALL_AT_ONCE_FROM = 3
"""So many nodes do not lose their sshd in the same moment."""

_CODES: tuple[tuple[SshState, str], ...] = (
    ("auth-failed", "ssh-auth-failed"),
    ("host-key-changed", "host-key-changed"),
    ("host-key-unknown", "host-key-unknown"),
    ("not-set-up", "not-set-up"),
)


def ssh_client_failed(evidence: Evidence) -> Iterable[Finding]:
    """Our own `ssh` ended before it asked a node: a wrong configuration, or no such program."""
    failed = [name for name, node in evidence.nodes.items() if signs.ssh_of_ours_failed(node)]
    if failed:
        told = words.own_ssh_seen(evidence.nodes[name] for name in failed)
        fields = words.node_words(evidence, failed)
        yield finding(evidence, "ssh-client-failed", OPERATOR, told, fields)


def ssh_no_key(evidence: Evidence) -> Iterable[Finding]:
    """There was no key to offer, whatever the nodes would accept."""
    names = [name for name, node in evidence.nodes.items() if signs.has_no_key(node)]
    if names:
        told = [
            piece
            for name in names[: words.NAMES_SHOWN]
            for piece in words.ssh_seen(name, evidence.nodes[name])
        ]
        fields = words.node_words(evidence, names)
        yield finding(evidence, "ssh-no-key", OPERATOR, tuple(told), fields)


def ssh_blocked(evidence: Evidence) -> Iterable[Finding]:
    """No node answers SSH, and their nginx does: what they share is the way from here."""
    there = [name for name, node in evidence.nodes.items() if signs.answers(node.health)]
    silent = [name for name in there if signs.ssh_silent(evidence.nodes[name])]
    if len(silent) < ALL_AT_ONCE_FROM or any(map(signs.ssh_answers, evidence.nodes.values())):
        return
    if len(silent) == len(there):
        told = words.both_seen(evidence, silent)
        fields = words.node_words(evidence, silent)
        yield finding(evidence, "ssh-blocked", OPERATOR, told, fields)


def ssh_refuses(evidence: Evidence) -> Iterable[Finding]:
    """SSH answers and does not let us in, or there is nothing of ours behind it."""
    for state, code in _CODES:
        held = [
            name
            for name, node in evidence.nodes.items()
            if node.ssh.or_none() == state and not signs.has_no_key(node)
        ]
        for names in words.groups(held, evidence.topology.frontend):
            told = tuple(
                piece for name in names for piece in words.ssh_seen(name, evidence.nodes[name])
            )
            yield about_nodes(evidence, code, names, told)


def ssh_unreachable(evidence: Evidence) -> Iterable[Finding]:
    """SSH does not answer, and HTTP does: the machine is there."""
    held = [
        name
        for name, node in evidence.nodes.items()
        if signs.ssh_silent(node) and signs.answers(node.health)
    ]
    for names in words.groups(held, evidence.topology.frontend):
        yield about_nodes(evidence, "ssh-unreachable", names, words.both_seen(evidence, names))
