"""Fills the catalogue's texts in: the one place where findings are made."""

from collections.abc import Sequence

from kome_tui.triage import words
from kome_tui.triage.catalogue import CATALOGUE
from kome_tui.triage.model import Action, Evidence, Finding, Seen, Severity


def about_nodes(
    evidence: Evidence,
    code: str,
    names: Sequence[str],
    told: tuple[Seen, ...],
    *,
    severity: Severity | None = None,
    **more: str,
) -> Finding:
    """A finding about nodes; one where people come in also names the way around."""
    fields = words.node_words(evidence, names) | more
    if evidence.topology.frontend not in names:
        fields |= {"way_around": "", "open_okome": ""}  # people do not come in there
    subject = names[0] if len(names) == 1 else f"{len(names)} nodes"
    return finding(evidence, code, subject, told, severity=severity, **fields)


def finding(
    evidence: Evidence,
    code: str,
    subject: str,
    told: tuple[Seen, ...],
    *,
    severity: Severity | None = None,
    **fields: str,
) -> Finding:
    """A finding with the catalogue's texts, their fields filled in by `fields`."""
    entry = CATALOGUE[code]
    known = words.fleet_words(evidence) | fields
    guidance = tuple(line.format_map(known) for line in entry.guidance)
    actions = tuple(
        Action(name.format_map(known), command.format_map(known)) for name, command in entry.actions
    )
    return Finding(
        code,
        severity or entry.severity,
        subject,
        entry.title.format_map(known),
        told,
        tuple(line for line in guidance if line),
        tuple(action for action in actions if action.command),
    )
