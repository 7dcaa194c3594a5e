"""Fills the catalogue's texts in: the one place where findings are made."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kome_tui.text import for_fleet
from kome_tui.triage import words
from kome_tui.triage.catalogue import CATALOGUE
from kome_tui.triage.model import Action, Evidence, Finding, Seen, Severity


def about_nodes(
    evidence: Evidence,
    code: str,
    names: Sequence[str],
    told: tuple[Seen, ...],
    more: Mapping[str, str] | None = None,
    *,
    severity: Severity | None = None,
) -> Finding:
    """A finding about nodes; one where people come in also names the way around."""
    fields = words.node_words(evidence, names) | dict(more or {})
    if evidence.topology.frontend not in names:
        fields |= {"way_around": "", "open_okome": ""}  # people do not come in there
    subject = names[0] if len(names) == 1 else f"{len(names)} nodes"
    return finding(evidence, code, subject, told, fields, severity=severity)


def finding(
    evidence: Evidence,
    code: str,
    subject: str,
    told: tuple[Seen, ...],
    fields: Mapping[str, str] | None = None,
    *,
    severity: Severity | None = None,
) -> Finding:
    """A finding with the catalogue's texts, their fields filled in by `fields`."""
    entry = CATALOGUE[code]
    known = words.fleet_words(evidence) | dict(fields or {})
    guidance = tuple(line.format_map(known) for line in entry.guidance)
    actions = tuple(
        Action(name.format_map(known), command.format_map(known)) for name, command in entry.actions
    )
    return Finding(
        code,
        severity or entry.severity,
        subject,
        entry.title.format_map(known),
        tuple(_with_command(piece, evidence.command) for piece in told),
        tuple(line for line in guidance if line),
        tuple(action for action in actions if action.command),
    )


def _with_command(piece: Seen, command: str) -> Seen:
    """An error of a node names commands too, and does not know of which fleet."""
    return replace(piece, seen=for_fleet(piece.seen, command))
