"""A diagnosis as the command line's JSON (the contract of `triage --json`)."""

from datetime import UTC, datetime

from kome_tui.triage.model import Diagnosis, Finding


def to_json(diagnosis: Diagnosis, seconds: float) -> dict[str, object]:
    """The object that `triage --json` prints; `seconds` is how long finding out took."""
    return {
        "verdict": diagnosis.verdict,
        "seconds": round(seconds, 3),
        "findings": [_finding(finding) for finding in diagnosis.findings],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "subject": finding.subject,
        "title": finding.title,
        "evidence": [
            {"source": piece.source, "seen": piece.seen, "at": iso(piece.at)}
            for piece in finding.evidence
        ],
        "guidance": list(finding.guidance),
        "actions": [{"name": action.name, "command": action.command} for action in finding.actions],
        "cause_of": list(finding.cause_of),
    }


def iso(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
