"""The triage screen: verdict, findings, and all of one finding."""

from kome_tui.reading import Missing
from kome_tui.state import ConsoleState
from kome_tui.triage.model import Action, Diagnosis, Finding, Severity, Verdict
from kome_tui.ui.ink import Cell, Line, Span, Tone, line
from kome_tui.ui.present import words
from kome_tui.ui.present.upstreams import way_around_url

SEVERITY_TONES: dict[Severity, Tone] = {"info": "dim", "warning": "warn", "critical": "bad"}
VERDICT_TONES: dict[Verdict, Tone] = {"healthy": "good", "degraded": "warn", "outage": "bad"}
WAY_AROUND_FRESH_S = 60.0
"""A way around that was tried longer ago is tried again before it is offered."""
_KEY_OF_COMMAND = {"deploy": "r", "rollback": "u", "probe": "p", "triage": "t", "open": "o"}


def verdict(state: ConsoleState) -> Line:
    """`outage, 2 findings, checked 12 s ago`."""
    value = state.diagnosis.value
    if isinstance(value, Missing):
        return (Span(f"No diagnosis: {value.reason}. ", "dim"), Span("Press t to run every check."))
    ago = words.age(state.diagnosis.age_s(state.now))
    count = words.counted(len(value.findings), "finding")
    return line(
        Span(value.verdict.capitalize(), VERDICT_TONES[value.verdict]),
        f": {count}" if value.findings else ": nothing found that needs you",
        Span(f", checked {ago} ago", "dim"),
    )


def short_verdict(state: ConsoleState) -> Span:
    """The verdict for the top line."""
    value = state.diagnosis.value
    if isinstance(value, Missing):
        return Span("no diagnosis yet", "dim")
    text: str = value.verdict
    if value.findings and value.verdict != "healthy":
        text += f": {value.findings[0].code}"
    elif value.findings:
        text += f", {words.counted(len(value.findings), 'remark')}"
    return Span(text, VERDICT_TONES[value.verdict])


def key(finding: Finding) -> str:
    """What makes a finding the same from one diagnosis to the next."""
    return f"{finding.code} {finding.subject}"


def matching(diagnosis: Diagnosis | None, wanted: str) -> tuple[Finding, ...]:
    """The findings that contain every word in what the table says of them."""
    parts = wanted.lower().split()
    return tuple(
        one
        for one in (diagnosis.findings if diagnosis is not None else ())
        if all(part in f"{one.severity} {key(one)} {one.title}".lower() for part in parts)
    )


def none(state: ConsoleState, wanted: str) -> tuple[Line, ...]:
    """Said where no finding is shown."""
    if wanted:
        return (line(Span(f"No finding contains “{wanted}”.", "dim")),)
    return (way_around(state),)


def rows(findings: tuple[Finding, ...]) -> dict[str, dict[str, Cell]]:
    """A row for each finding, the root cause first."""
    return {
        key(finding): {
            "severity": Cell(finding.severity, SEVERITY_TONES[finding.severity]),
            "subject": Cell(finding.subject, "strong"),
            "code": Cell(finding.code, "dim"),
            "title": Cell(finding.title),
        }
        for finding in findings
    }


def detail(state: ConsoleState, finding: Finding) -> tuple[Line, ...]:
    """All of one finding. What to do comes first: a small terminal shows no more without a key."""
    out: list[Line] = [
        line(Span(finding.title, "strong")),
        line(
            Span(finding.severity, SEVERITY_TONES[finding.severity]),
            Span(f"  {finding.subject}  {finding.code}", "dim"),
        ),
        line(Span("What to do", "accent")),
    ]
    out += [line(f"  {number}. {step}") for number, step in enumerate(finding.guidance, 1)]
    out += [action_line(action) for action in finding.actions]
    out += [way_around(state), (), line(Span("Evidence", "accent"))]
    out += [
        line(
            Span(f"  {words.clock(seen.at)}", "dim"),
            Span(f" {words.age(max(0.0, state.now - seen.at)):>6} ago  ", "dim"),
            Span(f"{seen.source}: ", "strong"),
            seen.seen,
        )
        for seen in finding.evidence
    ]
    if not finding.evidence:
        out.append(line(Span("  none was recorded", "dim")))
    if finding.cause_of:
        out += [(), line(Span("Explains", "accent"), f"  {', '.join(finding.cause_of)}")]
    return tuple(out)


def action_line(action: Action) -> Line:
    """An action with the key that runs it, and the command that does the same."""
    pressed = key_of(action)
    head = Span(f"  {pressed}  " if pressed else "     ", "accent")
    return (head, Span(action.name), Span(f"  {action.command}", "dim"))


def key_of(action: Action) -> str | None:
    """The key that runs it; None where only the command line does."""
    known = (_KEY_OF_COMMAND.get(word) for word in action.command.split())
    return next((key for key in known if key), None)


def way_around(state: ConsoleState) -> Line:
    """Whether OKOME itself answers this machine, and so whether `o` is offered."""
    url = way_around_url(state)
    head = (Span("Way around  ", "accent"), Span(url, "strong"))
    value = state.way_around.value
    if isinstance(value, Missing):
        return (*head, Span(f"  not tried: {value.reason}", "dim"))
    ago = words.age(state.way_around.age_s(state.now))
    if may_open(state, state.now):
        return (*head, Span("  answers", "good"), Span(f", tried {ago} ago; press o", "dim"))
    if value.state == "up":
        return (*head, Span(f"  answered {ago} ago; press t to try it again", "warn"))
    return (*head, Span(f"  {value.state}, tried {ago} ago", "bad"), Span(_because(value.reason)))


def may_open(state: ConsoleState, now: float) -> bool:
    """The way around was seen to answer, a short while ago."""
    value = state.way_around.or_none()
    fresh = state.way_around.age_s(now) <= WAY_AROUND_FRESH_S
    return value is not None and value.state == "up" and fresh


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
