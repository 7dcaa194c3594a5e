"""A push in words: its label, when it has to ask, its steps and its outcome."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kome_tui.release.outcome import Outcome, Progress, PushReport, Step
from kome_tui.state import ConsoleState
from kome_tui.text import clean
from kome_tui.topology.grammar import seconds
from kome_tui.ui.ink import Cell, Line, Span, Tone, line, plain
from kome_tui.ui.present import words

STEP_WORDS: dict[Step, str] = {
    "connect": "connecting",
    "set-up": "setting up",
    "stage": "staging",
    "wait": "waiting",
    "switch": "switching",
    "prove": "proving",
    "confirm": "confirming",
    "rollback": "going back",
    "done": "done",
}
LONGEST_ANSWER_S = 600.0
"""An answer may take this long; workers that finish in less time cut some."""
OUTCOME_WORDS: dict[Outcome, tuple[str, Tone]] = {
    "committed": ("committed", "good"),
    "unchanged": ("unchanged", "dim"),
    "rolled-back": ("rolled back", "bad"),
    "untouched": ("untouched", "dim"),
    "unreachable": ("unreachable", "bad"),
    "refused": ("refused", "bad"),
    "degraded": ("degraded", "bad"),
}


@dataclass(frozen=True, slots=True)
class PushQuestion:
    """What has to be said before a push, and what is pushed after a yes."""

    title: str
    text: tuple[Line, ...]
    yes: str
    nodes: tuple[str, ...]
    """Empty: there is nothing that could be pushed."""
    drifted: tuple[str, ...]


def chosen(state: ConsoleState, marked: Collection[str]) -> tuple[str, ...]:
    """The nodes a push goes to: the marked ones, or all, in the topology's order."""
    return tuple(name for name in state.nodes if name in marked) or tuple(state.nodes)


def push_label(state: ConsoleState, marked: Collection[str], hidden: int = 0) -> str:
    """`Push 3 nodes`, or `Push all 11 nodes`; `hidden` of them the filter does not show."""
    nodes = chosen(state, marked)
    everything = len(nodes) == len(state.nodes) and len(nodes) > 1
    which = f" ({hidden if hidden < len(nodes) else 'all'} hidden by the filter)" if hidden else ""
    return f"Push {'all ' if everything else ''}{words.counted(len(nodes), 'node')}{which}"


def question(state: ConsoleState, nodes: tuple[str, ...]) -> PushQuestion | None:
    """What is unusual about pushing to `nodes`; None where nothing is."""
    drifted = tuple(name for name in nodes if _drifted(state, name))
    bare = tuple(name for name in nodes if state.nodes[name].ssh.or_none() == "not-set-up")
    cut = _would_cut(state, nodes)
    if not (drifted or bare or cut or state.is_plan_old or state.file_problem):
        return None
    rest = tuple(name for name in nodes if name not in bare)
    count = words.counted(len(rest), "node")
    text: list[Line] = [*_edited(state, nodes)]
    if drifted:
        what = "was changed there by hand, and the push replaces it."
        text.append(line(Span(words.listed(drifted), "warn"), f" drifted: what it serves {what}"))
    if cut:
        after = state.topology.timeouts.shutdown
        text.append(line(Span(words.listed(cut), "warn"), f" cuts answers that run on {after}"))
        text.append(line("after the push (timeouts.shutdown in the topology)."))
    if bare:
        text.append(line(Span(words.listed(bare), "warn"), " not set up yet, and left out."))
        text.append(
            line("To set up: ", Span(f"{state.command} rebuild {' '.join(bare)}", "accent"))
        )
    if rest:
        return PushQuestion(f"Push to {count}?", tuple(text), f"Push {count}", rest, drifted)
    return PushQuestion("Nothing to push to", tuple(text), "", (), ())


def rollback_question(state: ConsoleState, nodes: tuple[str, ...]) -> PushQuestion:
    """What going back means. Always asked; the nodes themselves say where each would go."""
    count = words.counted(len(nodes), "node")
    each = "goes" if len(nodes) == 1 else "go"
    drifted = tuple(name for name in nodes if _drifted(state, name))
    text: list[Line] = [
        line(Span(words.listed(nodes, at_most=12), "strong")),
        line(f"{each} to the release served before the last switch, as said below."),
        line(Span("Each is proved and confirmed as in a push.", "dim")),
    ]
    if drifted:
        what = "what it serves was changed there by hand, and is replaced."
        text.append(line(Span(words.listed(drifted), "warn"), f" drifted: {what}"))
    return PushQuestion(f"Roll back {count}?", tuple(text), f"Roll back {count}", nodes, drifted)


def ways_back(ways: Mapping[str, str]) -> tuple[Line, ...]:
    """Where each node would go, and from where."""
    return tuple(line(Span(f"{name:<10} ", "strong"), clean(way)) for name, way in ways.items())


def leave_question() -> PushQuestion:
    """What leaving during a push means."""
    text = (line("A push is running. Leaving stops it and takes its trials back."),)
    return PushQuestion("Leave during a push?", text, "Stop the push and leave", (), ())


def ended(
    report: PushReport | None, error: str | None
) -> tuple[str, Literal["information", "error"]]:
    """One sentence about a push that has ended, and how loud to say it."""
    if report is None:
        return f"The push failed: {error or 'no reason was given'}", "error"
    return f"Push: {plain(summary(report))}", "information" if report.result == "ok" else "error"


def progress_cell(progress: Progress | None) -> Cell:
    """Where a push stands with a node; a dot where none concerns it."""
    if progress is None:
        return Cell("·", "dim")
    if progress.outcome is not None:
        text, tone = OUTCOME_WORDS[progress.outcome]
        return Cell(text, tone, progress.text or None)
    return Cell(STEP_WORDS[progress.step], "accent", progress.text or None)


def summary(report: PushReport) -> Line:
    """`ok in 0.8 s: 3 committed, 8 unchanged`."""
    tone: Tone = "good" if report.result == "ok" else "bad"
    return line(
        Span(report.result, tone),
        f" in {report.seconds:.1f} s: ",
        counts(report),
    )


def counts(report: PushReport) -> str:
    """`3 committed, 8 unchanged`, in a fixed order."""
    found = Counter(node.outcome for node in report.nodes.values())
    told = [f"{found[key]} {text}" for key, (text, _) in OUTCOME_WORDS.items() if found[key]]
    return ", ".join(told) or "no node"


def reasons(report: PushReport) -> tuple[Line, ...]:
    """One line for each node that has something to say."""
    return tuple(
        line(
            Span(f"{name:<12} ", "strong"),
            Span(f"{OUTCOME_WORDS[node.outcome][0]:<12} ", OUTCOME_WORDS[node.outcome][1]),
            node.reason,
        )
        for name, node in report.nodes.items()
        if node.reason
    )


def _edited(state: ConsoleState, nodes: tuple[str, ...]) -> Iterator[Line]:
    """What an edited topology file means for this push."""
    if state.file_problem is not None:
        yield line(Span(state.source, "warn"), " was edited, and cannot be used as it is now:")
        yield line(Span(state.file_problem, "warn"))
        yield line("This push still uses what was read before.")
    elif state.is_plan_old:
        facts = {name: state.nodes[name].facts.or_none() for name in nodes}
        changed = (n for n, seen in facts.items() if seen and seen.live != state.nodes[n].wanted)
        new = tuple(changed)
        yield line(Span(state.source, "warn"), " was edited since you last saw the plan.")
        yield line("It changes: ", Span(words.listed(new, at_most=12) or "no node", "strong"))
        yield line(Span("2 shows what changes, as a diff.", "dim"))


def _would_cut(state: ConsoleState, nodes: tuple[str, ...]) -> tuple[str, ...]:
    """Nodes with open connections whose old workers end before the longest answer does."""
    if seconds(state.topology.timeouts.shutdown) >= LONGEST_ANSWER_S:
        return ()
    facts = {name: state.nodes[name].facts.or_none() for name in nodes}
    return tuple(name for name, seen in facts.items() if seen is not None and seen.connections)


def _drifted(state: ConsoleState, name: str) -> bool:
    facts = state.nodes[name].facts.or_none()
    return facts is not None and facts.drift
