"""Strings from outside on every screen: shown literally, nothing parsed, nothing sent on."""

import ast
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot

from kome_tui.reading import Missing, Reading
from kome_tui.release.outcome import NodeOutcome, Progress, PushReport
from kome_tui.signals.readings import PathProbe, ProbeResult, ProbeVerdict
from kome_tui.state import ConsoleState, LogEntry, NodeState
from kome_tui.text import clean
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.model import OPERATOR, Action, Diagnosis, Finding, Seen
from kome_tui.ui.app import KomeApp
from kome_tui.ui.ink import joined
from kome_tui.ui.push_desk import PushDesk
from kome_tui.ui.screens.question import Question
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.top_line import TopLine
from tests.builders_state import (
    NOW,
    WANTED,
    a_failed_stream,
    a_stream,
    down,
    facts,
    healthy_state,
    traffic,
)
from tests.fake_session import FakeSession, a_plan
from tests.pilot_waiting import until

HOSTILE: tuple[str | bytes, ...] = (
    "\x1b[2J\x1b[H",
    "\x1b]0;T\x07",
    "\x1b]52;c;QUFB\x07",
    "\x1b]8;;http://e\x1b\\x\x1b]8;;\x1b\\",
    "\x1b]1337;File=:AA\x07",
    '\x1bP$q"p\x1b\\',
    "\x1b_Gx\x1b\\",
    "\x1b[21t",
    "\x1b[6n",
    "\x05",
    "\x1b[?1049l",
    "\x1b[?1000h",
    "\x1bc",
    "\x1b(0",
    "\x9b2J",
    b"\x9b2J",
    "\x9d52;c;QQ==\x9c",
    "\x85",
    "\x7f",
    "\x00",
    "\x08\x08",
    "a\rb",
    "\r\n12:00 [ok] all nodes deployed",
    "\u2028",
    "\u2029",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\u200b\u200d\ufeff\u00ad",
    "\U000e0041",
    "e" + "\u0301" * 500,
    "\u0489" * 50,
    "\ufdfd",
    "\ud800",
    b"\xff\xfe\xc3\x28\xf0\x9f\x92",
    "[/x]",
    "[/]",
    "[/",
    "[b",
    "[bold]x[/bold]",
    "[TODO] q",
    "[$error]x",
    "[@click=app.quit]x[/]",
    "[link=https://e]a[/link]",
    "\\[b]",
    "a\\\\[b]",
    ":smile:",
    "{{7*7}}",
    "${x}",
    "%s%n",
    "a\"b'c",
    "x" * 1_000_000,
)
CHUNKS = [pytest.param(HOSTILE[at : at + 9], id=f"{at}-") for at in range(0, len(HOSTILE), 9)]
UI = Path(__file__).parent.parent / "kome_tui" / "ui"


def hostile_state(text: str) -> ConsoleState:
    """`text` wherever something from outside can stand."""
    state = healthy_state()
    request = replace(traffic().value.recent[0], path=text, client=text, method=text, cache=text)  # type: ignore[union-attr]
    seen = Reading(replace(traffic().value, recent=(request,)), NOW)  # type: ignore[type-var]
    finding = Finding(
        text,
        "critical",
        text,
        text,
        (Seen(text, text, NOW),),
        (text,),
        (Action(text, text),),
        (text,),
    )
    nodes: dict[str, NodeState] = dict(state.nodes)
    nodes["node-01"] = replace(
        nodes["node-01"],
        ssh=Reading("unreachable", NOW),
        ssh_reason=text,
        facts=Reading(Missing(text), NOW),
        traffic=Reading(Missing(text), NOW),
        health=down(text),
        progress=Progress("node-01", "prove", text),
    )
    nodes["node-02"] = replace(
        nodes["node-02"], traffic=seen, facts=facts(live=text, drift=True), wanted=text
    )
    return replace(
        state,
        source=text,
        nodes=nodes,
        upstreams={name: {OPERATOR: down(text), "frontend": down(text)} for name in UpstreamName},
        page=down(text),
        api=Reading(Missing(text), NOW),
        way_around=down(text),
        diagnosis=Reading(Diagnosis("outage", (finding,)), NOW),
        probe=Reading(
            ProbeResult(
                (PathProbe(text, a_stream(), a_failed_stream(text)),),
                ProbeVerdict(text, text, text),
            ),
            NOW,
        ),
        last_push=PushReport(
            "failed", 1.0, {"node-01": NodeOutcome("rolled-back", WANTED, None, 1.0, text)}
        ),
        events=(LogEntry(NOW, "error", text, text),),
    )


def on_screen(pilot: Pilot[None]) -> str:
    """Everything that is drawn now."""
    screen = pilot.app.screen
    width, height = screen.size
    strips = screen._compositor.render_strips(screen.size)
    assert len(strips) == height
    return "\n".join("".join(segment.text for segment in strip)[:width] for strip in strips)


def hidden_in(text: str) -> set[str]:
    """Characters that a terminal might act upon."""
    return {
        char
        for char in text
        if char != "\n" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    }


@pytest.mark.parametrize("strings", CHUNKS)
async def test_every_screen_shows_it_literally(strings: tuple[str | bytes, ...]) -> None:
    session = FakeSession(hostile_state("before"), {})
    app = KomeApp(session, clock=lambda: NOW)
    app.animation_level = "none"
    async with app.run_test(size=(150, 40)) as pilot:
        await until(pilot, lambda: app.screen.query_one(TopLine).words)
        for raw in strings:
            text = clean(raw, 400)
            session.plans = {name: a_plan(diff=as_diff(raw)) for name in ("frontend", "node-02")}
            app.folded = hostile_state(text)
            app._draw()
            for name in ("fleet", "release", "stream", "triage"):
                app.action_go(name)
                await pilot.pause()
                assert not hidden_in(on_screen(pilot)), ascii(raw)
            await until(pilot, lambda text=text: text[:20] in on_screen(pilot))
            app.action_copy()
            app.action_open_way_around()
            app.action_go("release")
            await pilot.press("enter")
            view = app.screen.query_one("#diff", LineView)
            await until(pilot, lambda view=view, raw=raw: joined(view.lines).startswith("+"))
            assert not hidden_in(on_screen(pilot)), ascii(raw)
            assert not hidden_in(app.clipboard), ascii(raw)
            app.note(text)


@pytest.mark.parametrize("strings", CHUNKS)
async def test_events_and_dialog_show_it_literally(strings: tuple[str | bytes, ...]) -> None:
    session = FakeSession(hostile_state("before"), {})
    app = KomeApp(session, clock=lambda: NOW)
    app.animation_level = "none"
    async with app.run_test(size=(150, 40)) as pilot:
        await until(pilot, lambda: app.screen.query_one(TopLine).words)
        for raw in strings:
            session.plans = {"node-02": a_plan(drift=True, diff=as_diff(raw))}
            app.folded = hostile_state(clean(raw, 400))
            app._draw()
            app.action_go("events")
            await pilot.pause()
            log = app.screen.query_one("#log", LineView)
            await until(pilot, lambda log=log, raw=raw: clean(raw, 400) in joined(log.lines))
            assert not hidden_in(on_screen(pilot)), ascii(raw)
            app._desk = PushDesk(app, session)  # a press of its own each time
            await pilot.press("r")
            await until(pilot, lambda: isinstance(app.screen, Question))
            view = app.screen.query_one("#diff", LineView)
            await until(pilot, lambda view=view: "+" in joined(view.lines))
            assert not hidden_in(on_screen(pilot)), ascii(raw)
            await pilot.press("escape")
            await until(pilot, lambda: not isinstance(app.screen, Question))


def as_diff(raw: str | bytes) -> str:
    """A diff that adds the string, not cleaned: the plan comes from a node."""
    return f"+{raw if isinstance(raw, str) else raw.decode('latin-1')}"[:5000]


# What follows reads the package's source: a raw str in one of these places would be parsed.

DRAWN_BY = {"painted", "Text", "Content", "content", "page"}


def calls(tree: ast.AST, *names: str) -> list[ast.Call]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in names:
                found.append(node)
    return found


def is_drawn(node: ast.expr, drawn: set[str]) -> bool:
    if isinstance(node, ast.Starred):
        return is_drawn(node.value, drawn)
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return is_drawn(node.elt, drawn)
    if isinstance(node, ast.Name):
        return node.id in drawn
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in DRAWN_BY


def raw_cells(source: str) -> list[int]:
    """Lines of table cells and titles that are not built as Text or Content."""
    tree = ast.parse(source)
    drawn = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and is_drawn(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    wrong = []
    for call in calls(tree, "add_row", "add_rows", "add_column", "add_columns"):
        wrong += [arg.lineno for arg in call.args if not is_drawn(arg, drawn)]
    for call in calls(tree, "update_cell", "update_cell_at"):
        if not is_drawn(call.args[-1], drawn):
            wrong.append(call.lineno)
    return wrong


def markup_sinks(source: str) -> list[int]:
    """Lines that hand words to a widget in a way that would parse them."""
    tree = ast.parse(source)
    wrong = []
    for call in calls(tree, "Static", "Label", "notify"):
        markup = [key.value for key in call.keywords if key.arg == "markup"]
        if not (markup and isinstance(markup[0], ast.Constant) and markup[0].value is False):
            wrong.append(call.lineno)
    for call in calls(tree, "Button", "Tab", "Option"):
        if not (call.args and is_drawn(call.args[0], set())):
            wrong.append(call.lineno)
    for call in calls(tree, "from_markup"):
        wrong.append(call.lineno)
    parsed = {"border_title", "border_subtitle", "tooltip", "loading_message"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = [getattr(target, "attr", "") for target in node.targets]
            wrong += [node.lineno for name in names if name in parsed]
    return wrong


@pytest.mark.parametrize("path", sorted(UI.rglob("*.py")), ids=lambda path: path.name)
def test_no_raw_text_goes_where_markup_is_parsed(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert raw_cells(source) == []
    sinks = markup_sinks(source)
    if 'super().__init__("", markup=False' in source:
        assert "markup=True" not in source
    assert sinks == []


@pytest.mark.parametrize(
    "source",
    [
        "table.add_row('a', b)",
        "table.add_row(f'{x}')",
        "table.add_row(*[str(c) for c in cells])",
        "table.update_cell(row, column, text)",
        "table.add_column(title)",
    ],
)
def test_the_check_sees_a_raw_cell(source: str) -> None:
    assert raw_cells(source)


@pytest.mark.parametrize(
    "source",
    ["Static(text)", "Label(f'{x}')", "app.notify(words)", "Button(label)", "w.border_title = x"],
)
def test_the_check_sees_a_markup_sink(source: str) -> None:
    assert markup_sinks(source)


def test_drawn_cells_pass_the_check() -> None:
    good = """
drawn = [painted(c) for c in cells]
table.add_row(*drawn)
table.update_cell(a, b, painted(c))
"""
    assert raw_cells(good) == []


def test_content_takes_markup_literally() -> None:
    assert Content("[bold]x[/bold]").plain == "[bold]x[/bold]"


def test_static_widgets_of_the_package_are_given_markup_false() -> None:
    sources: Any = [path.read_text(encoding="utf-8") for path in (UI / "widgets").glob("*.py")]
    subclasses = [one for one in sources if "(Static)" in one]
    assert len(subclasses) == 3
    assert all('super().__init__("", markup=False' in one for one in subclasses)
