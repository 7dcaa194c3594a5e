"""Turns evidence into findings, the root cause first.

Pure: the same evidence gives the same diagnosis. A symptom that a cause explains must never stand
above it, or the operator starts at the wrong end.
"""

from collections.abc import Sequence
from dataclasses import replace

from kome_tui.triage import signs
from kome_tui.triage.catalogue import CATALOGUE, RANK, explains
from kome_tui.triage.model import Diagnosis, Evidence, Finding, Severity, Verdict
from kome_tui.triage.report import to_json
from kome_tui.triage.rules import RULES

__all__ = ["diagnose", "to_json"]

_SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
EVIDENCE_KEPT = 12


def diagnose(evidence: Evidence) -> Diagnosis:
    """Find what is wrong and why. Costs well under a millisecond per node."""
    found = [finding for rule in RULES for finding in rule(evidence)]
    return Diagnosis(_verdict(evidence, found), tuple(_causes_first(evidence, found)))


def _verdict(evidence: Evidence, found: Sequence[Finding]) -> Verdict:
    if signs.fails(evidence.page) or signs.fails(evidence.api):
        return "outage"
    if signs.nothing_known(evidence) or any(finding.severity != "info" for finding in found):
        return "degraded"
    return "healthy"


def _causes_first(evidence: Evidence, found: Sequence[Finding]) -> list[Finding]:
    """Roots by severity, then what they explain. Each symptom belongs to one root."""
    ranked = sorted(found, key=_rank)
    root_of = {_key(finding): _root(evidence, finding, ranked) for finding in ranked}
    roots = [
        _with_symptoms(root, [each for each in ranked if root_of[_key(each)] is root])
        for root in ranked
        if root_of[_key(root)] is root
    ]
    explained = [finding for finding in ranked if root_of[_key(finding)] is not finding]
    return sorted(roots, key=_rank) + [
        finding for finding in explained if not _adds_nothing(finding, root_of[_key(finding)])
    ]


def _rank(finding: Finding) -> tuple[int, int]:
    return _SEVERITIES.index(finding.severity), RANK[finding.code]


def _key(finding: Finding) -> tuple[str, str]:
    return finding.code, finding.subject


def _root(evidence: Evidence, finding: Finding, ranked: Sequence[Finding]) -> Finding:
    """What explains `finding` in the end; itself where nothing does."""
    for cause in ranked:
        if _explains(evidence, cause, finding):
            # ends: a code explains only codes that stand below it
            return _root(evidence, cause, ranked)
    return finding


def _explains(evidence: Evidence, cause: Finding, symptom: Finding) -> bool:
    if symptom.code not in explains(cause.code):
        return False
    if CATALOGUE[cause.code].behind_edge and _edge_is_silent(evidence, symptom.code):
        return False
    return not CATALOGUE[cause.code].per_node or cause.subject == symptom.subject


def _edge_is_silent(evidence: Evidence, code: str) -> bool:
    """nginx passes an error of OKOME on. Where it took no connection, it is a fault of its own."""
    reading = {"page-failing": evidence.page, "api-failing": evidence.api}.get(code)
    return reading is not None and signs.at_the_door(reading)


def _adds_nothing(symptom: Finding, root: Finding) -> bool:
    return CATALOGUE[symptom.code].adds_nothing or root.code == "operator-offline"


def _with_symptoms(root: Finding, family: Sequence[Finding]) -> Finding:
    """The root, as bad as the worst it explains, with the evidence of it all.

    `family` has the root itself, too.
    """
    told = list(root.evidence)
    for symptom in family:
        told += [piece for piece in symptom.evidence if piece not in told]
    codes = dict.fromkeys(symptom.code for symptom in family if symptom is not root)
    worst = min((each.severity for each in family), key=_SEVERITIES.index)
    kept = tuple(told[:EVIDENCE_KEPT])
    return replace(root, severity=worst, evidence=kept, cause_of=tuple(codes))
