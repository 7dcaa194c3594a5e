"""Which changes become a line on the events screen, and in what words. Pure.

A line tells a change, never a reading. A service or a finding must be seen the same way twice in
a row (a service: or from two vantage points at once) before it is told, so that one slow answer
makes no alarm.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from kome_tui.reading import Reading
from kome_tui.release.outcome import Outcome, PushReport
from kome_tui.signals.readings import Check
from kome_tui.state.model import (
    EVENTS_KEPT,
    ConsoleState,
    Diagnosed,
    Event,
    FactsSeen,
    HealthSeen,
    LogEntry,
    Noted,
    PlanSeen,
    ProbeSeen,
    ProbeStarted,
    PushEnded,
    PushStarted,
    PushStep,
    ServiceSeen,
    SshSeen,
    TopologySeen,
    TrafficSeen,
    UpstreamSeen,
)
from kome_tui.state.views import deciding_vantage, upstream_state
from kome_tui.triage import signs
from kome_tui.triage.model import OPERATOR, Diagnosis, Finding

Level = Literal["info", "warning", "error"]

_FINDING_LEVELS: dict[str, Level] = {"info": "info", "warning": "warning", "critical": "error"}
_OUTCOME_LEVELS: dict[Outcome, Level] = {
    "committed": "info",
    "unchanged": "info",
    "untouched": "warning",
    "unreachable": "warning",
    "refused": "warning",
    "rolled-back": "error",
    "degraded": "error",
}
_SERVICES = {"page": "the web page", "api": "the API", "way_around": "OKOME itself"}


@dataclass(frozen=True, slots=True)
class _Line:
    """A line to be written if `now_is` is news about `about`."""

    entry: LogEntry
    about: str | None = None
    """None: it is always news."""
    now_is: str = ""
    expected: bool = False
    """Nobody needs to hear it when it is the first thing known."""


def written(before: ConsoleState, after: ConsoleState, event: Event) -> ConsoleState:
    """`after`, with the lines that `event` deserves."""
    told = dict(after.told)
    entries = []
    for line in _lines(before, after, event):
        if line.about is not None:
            last = told.get(line.about)
            told[line.about] = line.now_is
            if last == line.now_is or (last is None and line.expected):
                continue
        entries.append(line.entry)
    if not entries and told == after.told:
        return after
    return replace(after, told=told, events=(*after.events, *entries)[-EVENTS_KEPT:])


def _lines(before: ConsoleState, after: ConsoleState, event: Event) -> Iterable[_Line]:
    match event:
        case SshSeen() | FactsSeen():
            return _node_lines(after, event.node) if event.node in after.nodes else ()
        case UpstreamSeen():
            return _upstream_lines(before, after, event)
        case ServiceSeen():
            return _service_lines(before, after, event)
        case ProbeSeen():
            return _probe_lines(after, event)
        case Diagnosed():
            return _finding_lines(before, after)
        case PushStarted():
            what = "Push" if event.what == "deploy" else "Rollback"
            return _always(event.at, "info", "push", f"{what} to {_counted(event.nodes)} started")
        case PushStep():
            return _step_lines(event)
        case PushEnded():
            return _end_lines(event)
        case Noted():
            return (_Line(event.entry),)
        case TopologySeen():
            return _file_lines(after, event)
        case HealthSeen() | TrafficSeen() | ProbeStarted() | PlanSeen():
            return ()
        case _:
            assert_never(event)


def _node_lines(state: ConsoleState, name: str) -> Iterator[_Line]:
    node = state.nodes[name]
    ssh = node.ssh.or_none()
    if ssh is not None:
        good = ssh == "ok"
        text = "SSH is back" if good else f"SSH: {node.ssh_reason or ssh}"
        entry = LogEntry(node.ssh.taken_at, "info" if good else "warning", name, text)
        yield _Line(entry, f"ssh {name}", ssh, expected=good)
    facts = node.facts.or_none()
    if facts is None:
        return
    at = node.facts.taken_at
    if facts.nginx != "unknown":
        good = facts.nginx == "serving"
        text = "nginx serves again" if good else "nginx has stopped"
        entry = LogEntry(at, "info" if good else "error", name, text)
        yield _Line(entry, f"nginx {name}", facts.nginx, expected=good)
    text = "changed by hand since the last push" if facts.drift else "serves its release unchanged"
    entry = LogEntry(at, "warning" if facts.drift else "info", name, text)
    yield _Line(entry, f"drift {name}", str(facts.drift), expected=not facts.drift)
    live = facts.live or "a configuration of its own"
    entry = LogEntry(at, "info", name, f"now serves {live}")
    yield _Line(entry, f"live {name}", live, expected=True)


def _upstream_lines(
    before: ConsoleState, after: ConsoleState, event: UpstreamSeen
) -> Iterator[_Line]:
    views = before.upstreams.get(event.upstream, {})
    if event.vantage != deciding_vantage(after, event.upstream):
        return
    state = upstream_state(after, event.upstream)
    others = [view for vantage, view in views.items() if vantage != event.vantage]
    if state == "unknown" or not _seen_before(event.check, (views.get(event.vantage), *others)):
        return
    yield _check_line(
        f"upstream {event.upstream}", event.upstream.value, event.check, event.vantage
    )


def _service_lines(
    before: ConsoleState, after: ConsoleState, event: ServiceSeen
) -> Iterator[_Line]:
    if event.which == "way_around":
        return
    earlier = before.page if event.which == "page" else before.api
    if _seen_before(event.check, (earlier,)):
        subject = after.topology.frontend
        yield _check_line(event.which, subject, event.check, OPERATOR, _SERVICES[event.which])


def _seen_before(now: Reading[Check], earlier: Iterable[Reading[Check] | None]) -> bool:
    check = now.or_none()
    known = [view.or_none() for view in earlier if view is not None]
    return check is not None and any(
        view is not None and view.state == check.state for view in known
    )


def _check_line(
    about: str, subject: str, reading: Reading[Check], vantage: str, service: str = ""
) -> _Line:
    check = reading.or_none()
    assert check is not None
    good = check.state == "up"
    bad = signs.fails(reading) if service else check.state == "down"
    level: Level = "info" if good else ("error" if bad else "warning")
    verb = ("works" if good else "fails" if bad else "is unwell") if service else check.state
    where = "this laptop" if vantage == OPERATOR else vantage
    said = "" if good or check.reason is None else f": {check.reason}"
    text = f"{service} {verb}, seen from {where}{said}".strip()
    return _Line(LogEntry(reading.taken_at, level, subject, text), about, verb, expected=good)


def _probe_lines(state: ConsoleState, event: ProbeSeen) -> Iterator[_Line]:
    probe = event.probe.or_none()
    at = event.probe.taken_at
    if probe is None:
        yield _Line(LogEntry(at, "warning", "probe", f"Probe failed: {event.probe.why_missing}"))
        return
    bad = probe.verdict.buffering_hop is not None or not all(path.plain.ok for path in probe.paths)
    yield _Line(LogEntry(at, "warning" if bad else "info", "probe", probe.verdict.text))


def _finding_lines(before: ConsoleState, after: ConsoleState) -> Iterator[_Line]:
    at = after.diagnosis.taken_at
    earlier, now = _findings(before.diagnosis), _findings(after.diagnosis)
    for about in earlier.keys() & now.keys():
        finding = now[about]
        level = _FINDING_LEVELS[finding.severity]
        entry = LogEntry(at, level, finding.subject, f"{finding.code}: {finding.title}")
        yield _Line(entry, about, "found")
    for about in after.told:
        if about.startswith("finding ") and about not in earlier and about not in now:
            code, subject = about.split(" ", 2)[1:]
            yield _Line(LogEntry(at, "info", subject, f"{code} is over"), about, "over")


def _findings(reading: Reading[Diagnosis]) -> dict[str, Finding]:
    diagnosis = reading.or_none()
    found = diagnosis.findings if diagnosis is not None else ()
    return {
        f"finding {finding.code} {finding.subject}": finding
        for finding in found
        if finding.severity != "info"
    }


def _file_lines(after: ConsoleState, event: TopologySeen) -> Iterable[_Line]:
    if event.problem is not None:
        text = f"{after.source} was edited, but is not taken over: {event.problem}"
        return _always(event.at, "warning", "topology", text)
    return _always(event.at, "info", "topology", f"{after.source} was edited and read anew")


def _step_lines(event: PushStep) -> Iterator[_Line]:
    step = event.progress
    if step.outcome is None:
        return
    text = step.outcome if step.text in ("", step.outcome) else f"{step.outcome}: {step.text}"
    yield _Line(LogEntry(event.at, _OUTCOME_LEVELS[step.outcome], step.node, text))


def _end_lines(event: PushEnded) -> Iterable[_Line]:
    if event.report is None:
        why = event.error or "no report"
        return _always(event.at, "error", "push", f"Push ended without a report: {why}")
    level: Level = "info" if event.report.result == "ok" else "error"
    return _always(event.at, level, "push", _summary(event.report))


def _summary(report: PushReport) -> str:
    counts: dict[str, int] = {}
    for node in report.nodes.values():
        counts[node.outcome] = counts.get(node.outcome, 0) + 1
    parts = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return f"Push {report.result} in {report.seconds:.1f} s: {parts}"


def _always(at: float, level: Level, subject: str, text: str) -> tuple[_Line, ...]:
    return (_Line(LogEntry(at, level, subject, text)),)


def _counted(nodes: tuple[str, ...]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes"
