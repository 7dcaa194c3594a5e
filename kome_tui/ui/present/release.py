"""The release screen: wanted against live, the plan's diff, the last push."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kome_tui.state import ConsoleState, NodeState
from kome_tui.text import clean
from kome_tui.ui.ink import Cell, Line, Span, Tone, line
from kome_tui.ui.present import fleet, push, words

if TYPE_CHECKING:
    from kome_tui.release.plan import NodePlan

DIFF_LINES = 4000
"""More than any configuration of ours has; a diff of somebody's huge file stops here."""


def row(state: ConsoleState, node: NodeState, marked: bool) -> dict[str, Cell]:
    """The cells of one node by column."""
    cells = fleet.row(node, marked, state.now)
    report = state.last_push
    outcome = report.nodes.get(node.name) if report else None
    running = node.name in state.pushing
    cells["push"] = cells["progress"]
    if outcome is not None and not running:
        text, tone = push.OUTCOME_WORDS[outcome.outcome]
        cells["push"] = Cell(text, tone, outcome.reason)
    cells["took"] = Cell(f"{outcome.seconds:.1f} s", "dim") if outcome else Cell("·", "dim")
    return {
        key: cells[key] for key in ("mark", "node", "release", "live", "wanted", "push", "took")
    }


def last_push(state: ConsoleState) -> tuple[Line, ...]:
    """The running push, else the last one with its reasons."""
    if state.pushing:
        done = sum(_is_done(state.nodes[name]) for name in state.pushing if name in state.nodes)
        count = words.counted(len(state.pushing), "node")
        return (
            line(
                Span("Pushing", "accent"),
                f" to {count}: {done} done. ",
                Span("escape stops it and takes trials back", "dim"),
            ),
        )
    if state.last_push is None:
        return (line(Span("No push in this session yet.", "dim")),)
    head = line(Span("Last push: ", "strong"), *push.summary(state.last_push))
    return (head, *push.reasons(state.last_push))


def diff(node: str, plan: NodePlan | None) -> tuple[Line, ...]:
    """The plan for one node, ready to scroll."""
    if plan is None:
        return (line(Span(f"No plan for {node} yet.", "dim")),)
    if plan.reason:
        return (line(Span(f"{node}: ", "strong"), Span(clean(plan.reason), "warn")),)
    if not plan.changed:
        return (line(Span(f"{node}: ", "strong"), "a push would change nothing."),)
    rows = plan.diff.expandtabs(4).split("\n")
    shown = tuple(_diff_line(clean(one)) for one in rows[:DIFF_LINES])
    if not plan.diff:
        shown = (line(Span("The configurations do not differ; only the release id does.", "dim")),)
    if len(rows) > DIFF_LINES:
        shown += (line(Span(f"… {len(rows) - DIFF_LINES} more lines", "dim")),)
    felt = tuple(line(Span(clean(sentence), "accent")) for sentence in plan.meaning)
    if felt:
        shown = (*felt, (), *shown)
    if plan.drift:
        head = line(Span(f"{node} drifted: ", "warn"), "it was changed outside of kome-tui.")
        return (head, *shown)
    return shown


def _diff_line(text: str) -> Line:
    tone: Tone = "plain"
    if text.startswith(("---", "+++")):
        tone = "strong"
    elif text.startswith("@@"):
        tone = "accent"
    elif text.startswith("+"):
        tone = "good"
    elif text.startswith("-"):
        tone = "removed"
    return (Span(text, tone),)


def _is_done(node: NodeState) -> bool:
    return node.progress is not None and node.progress.step == "done"


def ids(state: ConsoleState) -> tuple[object, ...]:
    """What a plan depends on; once it differs, the plan is out of date."""
    facts = ((node, node.facts.or_none()) for node in state.nodes.values())
    return tuple((node.wanted, one.live, one.drift) if one else node.wanted for node, one in facts)
