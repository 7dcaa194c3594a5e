"""The console under a pilot: keys, pushes, dialogs, freezing, sizes."""

import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Input

from kome_tui.reading import Reading
from kome_tui.release.outcome import Progress
from kome_tui.state import Diagnosed, LogEntry, Noted, ProbeSeen, ProbeStarted, TrafficSeen
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.model import Diagnosis
from kome_tui.ui import app as app_module
from kome_tui.ui import leaving
from kome_tui.ui.app import KomeApp
from kome_tui.ui.fast_typing import FastTyping
from kome_tui.ui.ink import joined
from kome_tui.ui.palette import KeyCommands
from kome_tui.ui.present import stream
from kome_tui.ui.present.triage import short_verdict
from kome_tui.ui.push_desk import PushDesk
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.screens.question import Question
from kome_tui.ui.widgets.grid import Grid
from kome_tui.ui.widgets.key_bar import KeyBar
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.panel import Panel
from kome_tui.ui.widgets.top_line import TopLine
from tests.builders_state import (
    BEHIND,
    NOW,
    WANTED,
    a_failed_stream,
    a_probe,
    down,
    healthy_state,
    new_state,
    okome_down,
    traffic,
    troubled_state,
)
from tests.fake_session import FakeSession, a_plan
from tests.pilot_waiting import until


@pytest.fixture(autouse=True)
def drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests wait for what is drawn; the rate has a test of its own."""
    monkeypatch.setattr(app_module, "REDRAW_S", 0.02)


@asynccontextmanager
async def console(
    session: FakeSession, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[Pilot[None]]:
    """The console on a fake session, with its first table drawn."""
    app = KomeApp(session, clock=lambda: NOW)
    app.animation_level = "none"
    between_keys = itertools.count(0, 10).__next__  # every key is pressed with deliberation
    app._typing, app._desk = FastTyping(between_keys), PushDesk(app, session, between_keys)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: session.started and nodes_shown(pilot))
        yield pilot


def nodes_shown(pilot: Pilot[None]) -> list[str]:
    return list(pilot.app.screen.query_one("#nodes", Grid).shown)


def screen_key(pilot: Pilot[None]) -> str:
    return getattr(pilot.app.screen, "KEY", "")


def panel_text(pilot: Pilot[None], selector: str) -> str:
    return joined(pilot.app.screen.query_one(selector, Panel).lines)


def notes(pilot: Pilot[None]) -> str:
    return "\n".join(note.message for note in pilot.app._notifications)


def bar(pilot: Pilot[None]) -> str:
    return str(pilot.app.screen.query_one(KeyBar).content)


def on_screen(pilot: Pilot[None]) -> str:
    """Everything that is drawn now."""
    screen = pilot.app.screen
    strips = screen._compositor.render_strips(screen.size)
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def with_clock(pilot: Pilot[None]) -> Clock:
    """Give the keys a clock of the test's own."""
    app = pilot.app
    assert isinstance(app, KomeApp)
    clock = Clock()
    app._desk = PushDesk(app, app.session, clock)
    app._typing = FastTyping(clock)
    return clock


async def typed(pilot: Pilot[None], clock: Clock, *keys: str, every_s: float = 0.15) -> None:
    """Press keys as somebody writes: 0.15 s apart."""
    for key in keys:
        await pilot.press(key)
        clock.now += every_s


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 50), (40, 10)])
@pytest.mark.parametrize("state", [new_state(), healthy_state(), troubled_state()])
async def test_every_screen_draws_at_every_size(size: tuple[int, int], state: Any) -> None:
    session = FakeSession(state, {"frontend": a_plan()})
    app = KomeApp(session, clock=lambda: NOW)
    app.animation_level = "none"
    async with app.run_test(size=size) as pilot:
        for key, name in zip(
            "12345", ("fleet", "release", "stream", "triage", "events"), strict=True
        ):
            await pilot.press(key)
            await until(pilot, lambda wanted=name: screen_key(pilot) == wanted)
            await until(pilot, lambda: app.screen.query_one(TopLine).words)
        await pilot.press("question_mark")
        await pilot.press("escape")


@pytest.mark.parametrize(
    ("width", "shown", "hidden"),
    [
        (80, {"node", "ssh", "nginx", "release", "hit", "progress"}, {"live", "role"}),
        (200, {"node", "role", "live", "wanted", "age", "rps", "5xx", "conn", "progress"}, set()),
    ],
)
async def test_columns_go_by_priority(width: int, shown: set[str], hidden: set[str]) -> None:
    async with console(FakeSession(healthy_state()), (width, 24)) as pilot:
        grid = pilot.app.screen.query_one(Grid)
        keys = {str(key.value) for key in grid.columns}
        assert shown <= keys
        assert not hidden & keys
        assert grid.virtual_size.width <= width


async def test_top_line_names_fleet_file_and_marks() -> None:
    state = healthy_state(is_lab=True, read_only=True)
    async with console(FakeSession(state)) as pilot:
        words = await until(pilot, lambda: pilot.app.screen.query_one(TopLine).words)
        for word in ("home", "topology.yaml", ["[READ-ONLY", "LAB]"][0][1:], "LAB", "healthy"):
            assert word in words
        assert pilot.app.theme == "kome-lab"


async def test_r_pushes_all_nodes_at_once() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await until(pilot, lambda: "Push all 11 nodes" in bar(pilot))
        await pilot.press("r")
        assert session.asked == [("deploy", tuple(session.state.nodes), False)]
        session.step("node-01", Progress("node-01", "prove", "asks the marker"))
        grid = pilot.app.screen.query_one(Grid)
        await until(pilot, lambda: grid.shown["node-01"]["progress"].text == "proving")
        session.end(tuple(session.state.nodes), "committed")
        await until(pilot, lambda: "11 committed" in notes(pilot))


async def test_r_pushes_nothing_while_an_edited_topology_is_being_read() -> None:
    session = FakeSession(healthy_state())
    session.stamp = (1, 2, 3)
    async with console(session) as pilot:
        await until(pilot, lambda: "Push all 11 nodes" in bar(pilot))
        await pilot.press("r")
        await until(pilot, lambda: "saved a moment ago" in notes(pilot))
        assert session.asked == []


async def test_r_pushes_the_marked_nodes() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("down", "space", "down", "space")
        await until(pilot, lambda: "Push 2 nodes" in bar(pilot))
        await pilot.press("r")
        assert session.asked == [("deploy", ("node-01", "node-02"), False)]


async def test_space_twice_takes_the_mark_away() -> None:
    async with console(FakeSession(healthy_state())) as pilot:
        await pilot.press("space")
        await until(pilot, lambda: "Push 1 node" in bar(pilot))
        await pilot.press("space")
        await until(pilot, lambda: "Push all 11 nodes" in bar(pilot))


async def test_second_r_while_a_push_runs_does_nothing_and_says_so() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        clock = with_clock(pilot)
        await pilot.press("r")
        await until(pilot, lambda: pilot.app.folded.pushing)  # type: ignore[attr-defined]
        clock.now += 60
        await pilot.press("r")
        assert len(session.of_kind("deploy")) == 1
        assert "A push is running" in notes(pilot)


async def test_held_r_pushes_once_even_when_the_push_is_over_at_once() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        clock = with_clock(pilot)
        for _ in range(8):
            await pilot.press("r")
            session.end(tuple(session.state.nodes), "unchanged")
            await until(pilot, lambda: not pilot.app.folded.pushing)  # type: ignore[attr-defined]
            clock.now += 0.4
        assert len(session.of_kind("deploy")) == 1
        clock.now += 5
        await pilot.press("r")
        assert len(session.of_kind("deploy")) == 2


async def test_pasted_keys_push_once_and_answer_no_dialog() -> None:
    session = FakeSession(troubled_state())
    async with console(session) as pilot:
        await pilot.press(*"rrrruuyyrr")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        assert session.of_kind("deploy") == []
        assert session.of_kind("rollback") == []
        await pilot.press("enter")  # the safe answer has the focus
        await until(pilot, lambda: screen_key(pilot) == "fleet")
        assert session.of_kind("deploy") == []


async def test_drift_asks_and_shows_the_difference() -> None:
    session = FakeSession(troubled_state(), {"node-02": a_plan(drift=True)})
    async with console(session) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: "node-02" in panel_text(pilot, "#text"))
        view = pilot.app.screen.query_one("#diff", LineView)
        await until(pilot, lambda: "proxy_buffering off" in joined(view.lines))
        await pilot.click("#yes")
        await until(pilot, lambda: session.of_kind("deploy"))
        (_, nodes, accepted) = session.of_kind("deploy")[0]
        assert accepted is True
        assert "node-06" not in nodes  # type: ignore[operator]
        assert len(nodes) == 10  # type: ignore[arg-type]


async def test_dialog_keeps_its_buttons_in_sight_on_a_small_terminal() -> None:
    async with console(FakeSession(troubled_state()), (80, 24)) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        buttons = pilot.app.screen.query(Button)
        await until(pilot, lambda: all(one.region.bottom <= 24 for one in buttons))
        assert all(one.region.height for one in buttons)


async def test_rollback_always_asks_and_names_the_nodes() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("down", "space", "u")
        await until(pilot, lambda: "node-01" in panel_text(pilot, "#text"))
        view = pilot.app.screen.query_one("#diff", LineView)
        await until(pilot, lambda: f"back to {BEHIND}, from {WANTED}" in joined(view.lines))
        assert session.asked == []
        await pilot.press("tab", "enter")
        await until(pilot, lambda: session.of_kind("rollback"))
        assert session.asked == [("rollback", ("node-01",), None, False)]


async def test_dialog_takes_the_keys() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("u")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("2", "p", "t", "r", "q", "ctrl+p", "ctrl+q", "colon")
        assert isinstance(pilot.app.screen, Question)
        assert session.asked == []
        await pilot.press("escape")
        await until(pilot, lambda: screen_key(pilot) == "fleet")
        assert session.asked == []


async def test_escape_stops_a_running_push_else_goes_to_the_fleet() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("5", "escape")
        await until(pilot, lambda: screen_key(pilot) == "fleet")
        assert session.asked == []
        await pilot.press("r")
        await until(pilot, lambda: pilot.app.folded.pushing)  # type: ignore[attr-defined]
        await pilot.press("escape")
        assert session.of_kind("stop_push") == [("stop_push",)]


async def test_read_only_changes_nothing() -> None:
    session = FakeSession(healthy_state(read_only=True))
    async with console(session) as pilot:
        await pilot.press("r", "u")
        assert session.asked == []
        assert "Read-only" in notes(pilot)
        assert screen_key(pilot) == "fleet"


async def test_quit_leaves_at_once_when_no_push_runs() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("q")
        await until(pilot, lambda: session.stopped)


@pytest.mark.parametrize("key", ["q", "ctrl+q"])
async def test_quit_asks_during_a_push(key: str) -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: pilot.app.folded.pushing)  # type: ignore[attr-defined]
        await pilot.press(key)
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("escape")
        await until(pilot, lambda: screen_key(pilot) == "fleet")
        assert not session.stopped
        await pilot.press(key)
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.click("#yes")
        await until(pilot, lambda: session.stopped)


async def test_a_session_that_does_not_stop_cannot_hold_the_console(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "STOP_DEADLINE_S", 0.2)
    gate = threading.Event()
    session = FakeSession(healthy_state(), hang_stop=gate)
    async with console(session) as pilot:
        await pilot.press("q")
        await until(pilot, lambda: pilot.app._exit)
    gate.set()


async def test_freeze_holds_the_picture_and_keeps_measuring() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        grid = pilot.app.screen.query_one(Grid)
        await pilot.press("f")
        top = pilot.app.screen.query_one(TopLine)
        await until(pilot, lambda: "FROZEN" in top.words)
        session.from_a_thread(TrafficSeen("node-01", traffic("node-01", 50, 50)))
        app = pilot.app
        assert isinstance(app, KomeApp)
        newest = lambda: app.folded.nodes["node-01"].traffic.or_none()  # noqa: E731
        await until(pilot, lambda: newest().last_minute.hits == 50)  # type: ignore[union-attr]
        app._draw()
        await pilot.pause()
        assert grid.shown["node-01"]["hit"].text == "92 % of 340"
        await pilot.press("f")
        await until(pilot, lambda: grid.shown["node-01"]["hit"].text == "50 % of 100")
        assert "FROZEN" not in top.words


async def test_filter_shows_matching_nodes_and_typed_letters_run_nothing() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("slash", *"rupt")
        await until(pilot, lambda: nodes_shown(pilot) == [])
        assert session.asked == []
        await pilot.press(*["backspace"] * 4, *"gpu", "enter")
        await until(pilot, lambda: nodes_shown(pilot) == ["node-07", "node-08"])
        await pilot.press("down", "space")
        await until(pilot, lambda: "Push 1 node" in bar(pilot))
        await pilot.press("slash", "escape")
        await until(pilot, lambda: len(nodes_shown(pilot)) == 11)
        assert pilot.app.screen.query_one(Grid).current == "node-08"
        assert not pilot.app.screen.query_one(Input).display


async def test_cursor_stays_on_its_node_while_the_table_changes() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("down", "down", "down")
        grid = pilot.app.screen.query_one(Grid)
        assert grid.current == "node-03"
        await pilot.resize_terminal(160, 40)
        await until(pilot, lambda: "live" in {str(key.value) for key in grid.columns})
        assert grid.current == "node-03"
        await until(pilot, lambda: "node-03" in panel_text(pilot, "#detail"))


async def test_detail_line_explains_a_dash() -> None:
    async with console(FakeSession(troubled_state())) as pilot:
        await pilot.press(*["down"] * 5)
        await until(pilot, lambda: "no cacheable request in 60 s" in panel_text(pilot, "#detail"))


async def test_release_screen_reads_the_plan_beside_the_loop() -> None:
    gate = threading.Event()
    session = FakeSession(healthy_state(), {"frontend": a_plan()}, hang_plan=gate)
    async with console(session) as pilot:
        await pilot.press("2")
        view = await until(pilot, lambda: pilot.app.screen.query_one("#diff", LineView))
        await until(pilot, lambda: "Asking" in joined(view.lines))
        await pilot.press("5", "2")  # the loop is free
        gate.set()
        await until(pilot, lambda: "proxy_buffering off" in joined(view.lines))
        await pilot.press("enter")
        await until(pilot, lambda: len(session.of_kind("plan")) == 2)


async def test_release_screen_tells_the_reasons_of_the_last_push() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("r", "2")
        await until(pilot, lambda: "escape stops it" in panel_text(pilot, "#last-push"))
        session.end(("node-01",), "rolled-back", "the marker still answers the old release")
        await until(pilot, lambda: "still answers" in panel_text(pilot, "#last-push"))
        assert "1 rolled back" in panel_text(pilot, "#last-push")


async def test_probe_key_opens_the_stream_screen_and_shows_the_result() -> None:
    session = FakeSession(new_state())
    async with console(session) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: screen_key(pilot) == "stream")
        assert session.asked == [("probe",)]
        session.from_a_thread(ProbeStarted(NOW))
        await until(pilot, lambda: "Measuring" in panel_text(pilot, "#verdict"))
        session.from_a_thread(ProbeSeen(Reading(a_probe(12), NOW)))
        await until(pilot, lambda: "frontend buffers" in panel_text(pilot, "#verdict"))
        grid = pilot.app.screen.query_one(Grid)
        await until(pilot, lambda: grid.shown["frontend"]["word"].text == "clumped")
        assert grid.size.height >= 7
        assert "Arrivals" in panel_text(pilot, "#strips")


@pytest.mark.parametrize(("key", "table", "rows"), [("3", "#paths", 6), ("4", "#findings", 2)])
async def test_tables_that_have_rows_from_the_start_are_drawn(
    key: str, table: str, rows: int
) -> None:
    async with console(FakeSession(troubled_state())) as pilot:
        await pilot.press(key)
        grid = await until(pilot, lambda: pilot.app.screen.query_one(table, Grid))
        await until(pilot, lambda: grid.row_count == rows and grid.size.height >= rows + 1)


async def test_triage_key_runs_the_checks_and_shows_the_finding() -> None:
    session = FakeSession(new_state())
    async with console(session) as pilot:
        await pilot.press("t")
        assert session.asked == [("triage",)]
        diagnosis = Diagnosis("outage", (okome_down(),))
        session.from_a_thread(Diagnosed(Reading(diagnosis, NOW)))
        await until(pilot, lambda: "Outage: 1 finding" in panel_text(pilot, "#verdict"))
        await until(pilot, lambda: "Start OKOME" in panel_text(pilot, "#detail"))
        session.from_a_thread(Diagnosed(Reading(Diagnosis("healthy"), NOW)))
        await until(pilot, lambda: "Healthy" in panel_text(pilot, "#verdict"))
        assert "Start OKOME" not in panel_text(pilot, "#detail")


async def test_second_finding_is_explained_when_the_cursor_goes_there() -> None:
    async with console(FakeSession(troubled_state())) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "Start OKOME" in panel_text(pilot, "#detail"))
        await pilot.press("down")
        await until(pilot, lambda: "changed by hand" in panel_text(pilot, "#detail"))


async def test_way_around_opens_only_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(app_module, "open_page", lambda url: opened.append(url) or True)
    async with console(FakeSession(troubled_state())) as pilot:
        await pilot.press("o")
        await until(pilot, lambda: "connection refused" in notes(pilot))
        assert opened == []
    async with console(FakeSession(healthy_state())) as pilot:
        await pilot.press("o")
        await until(pilot, lambda: opened == ["http://127.0.0.1:8000"])


async def test_way_around_without_a_browser_is_shown_and_sent_to_the_clipboard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app_module, "open_page", lambda url: False)
    async with console(FakeSession(healthy_state())) as pilot:
        await pilot.press("o")
        await until(pilot, lambda: pilot.app.clipboard == "http://127.0.0.1:8000")
        await until(pilot, lambda: "Open http://127.0.0.1:8000 yourself" in notes(pilot))
        assert "sent to the terminal's clipboard" in notes(pilot)


async def test_y_copies_what_is_under_the_cursor() -> None:
    async with console(FakeSession(troubled_state())) as pilot:
        await pilot.press("down", "down", "y")
        assert "Node: node-02" in pilot.app.clipboard
        assert "Sent to the terminal's clipboard:\nNode: node-02" in notes(pilot)
        await pilot.press("4")
        await until(pilot, lambda: "Start OKOME" in panel_text(pilot, "#detail"))
        await pilot.press("y")
        assert "OKOME does not answer" in pilot.app.clipboard


async def test_events_screen_follows_filters_and_freezes() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("5")
        log = await until(pilot, lambda: pilot.app.screen.query_one("#log", LineView))
        await until(pilot, lambda: len(log.lines) == 20)
        session.from_a_thread(Noted(LogEntry(NOW, "warning", "node-04", "lost the connection")))
        await until(pilot, lambda: "lost the connection" in joined(log.lines))
        await pilot.press("slash", *"lost", "enter")
        await until(pilot, lambda: len(log.lines) == 1)
        await pilot.press("f")
        session.from_a_thread(Noted(LogEntry(NOW, "warning", "node-05", "lost too")))
        await pilot.press("f")
        await until(pilot, lambda: len(log.lines) == 2)


async def test_a_reader_who_scrolled_up_stays_there() -> None:
    session = FakeSession(healthy_state())
    async with console(session, (80, 24)) as pilot:
        await pilot.press("5")
        log = await until(pilot, lambda: pilot.app.screen.query_one("#log", LineView))
        await until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y > 0)
        log.scroll_home(animate=False)
        await until(pilot, lambda: log.scroll_offset.y == 0)
        session.from_a_thread(Noted(LogEntry(NOW, "info", "node-05", "one more")))
        await until(pilot, lambda: "one more" in joined(log.lines))
        assert log.scroll_offset.y == 0


async def test_a_thousand_events_cost_few_drawings() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        app = pilot.app
        assert isinstance(app, KomeApp)
        drawn: list[float] = []
        screen = app.screen
        assert isinstance(screen, KomeScreen)
        show = screen.show
        screen.show = lambda state: (drawn.append(state.now), show(state))  # type: ignore[assignment,method-assign,func-returns-value]
        entry = LogEntry(NOW, "info", "node-01", "again")
        session.from_a_thread(*(Noted(replace(entry, text=str(at))) for at in range(1000)))
        await until(pilot, lambda: app.folded.events[-1].text == "999")
        await until(pilot, lambda: drawn)
        assert len(drawn) <= 5


async def test_the_tick_of_the_clock_does_not_add_to_the_drawings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        app = pilot.app
        assert isinstance(app, KomeApp)
        monkeypatch.setattr(app_module, "REDRAW_S", 60.0)
        app._draw()
        session.from_a_thread(Noted(LogEntry(NOW, "info", "node-01", "again")))
        await until(pilot, lambda: app._redraw)
        before = app.state
        app._draw_unless_due()
        assert app.state is before
        assert app._redraw is not None  # the one that was due still is


async def test_palette_runs_a_command_by_name() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("colon")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "CommandPalette")
        await pilot.press(*"Probe")
        options = pilot.app.screen.query_one("CommandList")
        await until(pilot, lambda: options.option_count >= 1)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: session.asked == [("probe",)])


async def test_help_lists_every_key() -> None:
    from kome_tui.ui.keys import KEYS

    async with console(FakeSession(healthy_state())) as pilot:
        await pilot.press("question_mark")
        text = await until(pilot, lambda: panel_text(pilot, "#keys"))
        assert all(key.help in text for key in KEYS)
        await pilot.press("question_mark")
        await until(pilot, lambda: screen_key(pilot) == "fleet")


async def test_words_typed_where_no_line_is_open_push_nothing() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        clock = with_clock(pilot)
        await typed(pilot, clock, *"please", "space", *"tr")
        assert session.of_kind("deploy") == []
        assert "Typed too fast to be a command: r ignored" in notes(pilot)
        clock.now += 1
        await pilot.press("space", "r")  # space goes with commands; only node 1 lost its mark
        assert len(session.of_kind("deploy")) == 1


async def test_a_word_that_begins_with_the_push_key_takes_the_push_back() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        clock = with_clock(pilot)
        await typed(pilot, clock, *"restart")
        assert len(session.of_kind("deploy")) == 1
        assert session.of_kind("stop_push") == [("stop_push",)]
        assert "the push is taken back" in notes(pilot)


async def test_a_command_after_a_push_leaves_the_push_alone() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        clock = with_clock(pilot)
        await typed(pilot, clock, "r", "2", "f", every_s=0.1)
        await until(pilot, lambda: screen_key(pilot) == "release")
        assert session.of_kind("stop_push") == []
        assert len(session.of_kind("deploy")) == 1


@pytest.mark.parametrize("key", "12345")
async def test_slash_takes_the_words_on_every_screen(key: str) -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: pilot.app.screen.query_one(TopLine).words)
        opened = screen_key(pilot)
        await pilot.press("slash", *"qrrupto")
        box = pilot.app.screen.query_one(Input)
        await until(pilot, lambda: box.has_focus)
        assert (screen_key(pilot), session.asked, session.stopped) == (opened, asked_by(key), False)
        assert pilot.app.screen.query_one(Input).placeholder
        await pilot.press("escape")
        await until(pilot, lambda: not box.display)
        await pilot.press("5")
        await until(pilot, lambda: screen_key(pilot) == "events")


def asked_by(key: str) -> list[tuple[object, ...]]:
    """What opening a screen asks for by itself: the release screen reads the plan."""
    return [("plan", tuple(healthy_state().nodes))] if key == "2" else []


async def test_slash_says_where_there_is_nothing_to_filter() -> None:
    async with console(FakeSession(healthy_state())) as pilot:
        await pilot.press("3", "slash", *"err")
        box = pilot.app.screen.query_one(Input)
        await until(pilot, lambda: box.display and box.value == "")
        assert "Nothing to filter here" in box.placeholder
        await pilot.press("enter")
        await until(pilot, lambda: not box.display)


async def test_a_pasted_filter_runs_no_command() -> None:
    """All keys arrive before the first is acted upon."""
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        with_clock(pilot)
        for key, character in (("slash", "/"), ("r", "r"), ("q", "q"), ("u", "u")):
            pilot.app.post_message(events.Key(key, character))
        await until(pilot, lambda: pilot.app.screen.query_one(Input).display)
        assert session.asked == []
        assert not session.stopped


async def test_findings_and_release_nodes_can_be_filtered() -> None:
    async with console(FakeSession(troubled_state())) as pilot:
        await pilot.press("4", "slash", *"drift")
        grid = pilot.app.screen.query_one("#findings", Grid)
        await until(pilot, lambda: list(grid.shown) == ["config-drift node-02"])
        await until(pilot, lambda: "changed by hand" in panel_text(pilot, "#detail"))
        await pilot.press(*"xx")
        await until(pilot, lambda: "No finding contains" in panel_text(pilot, "#detail"))
        await pilot.press("escape", "2", "slash", *"gpu")
        await until(pilot, lambda: nodes_shown(pilot) == ["node-07", "node-08"])


@pytest.mark.parametrize("size", [(80, 24), (60, 15)])
async def test_the_first_thing_to_do_is_in_sight_without_a_key(size: tuple[int, int]) -> None:
    async with console(FakeSession(troubled_state()), size) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "1. Start OKOME again" in on_screen(pilot))


async def test_page_keys_scroll_the_finding_from_the_table() -> None:
    long = replace(okome_down(), guidance=tuple(f"Step {at}" for at in range(40)))
    state = healthy_state(diagnosis=Reading(Diagnosis("outage", (long,)), NOW))
    async with console(FakeSession(state), (80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "Read on" in bar(pilot) and "Step 0" in on_screen(pilot))
        for _ in range(6):
            await pilot.press("pagedown")
        await until(pilot, lambda: "Evidence" in on_screen(pilot))
        for _ in range(6):
            await pilot.press("pageup")
        await until(pilot, lambda: "Step 0" in on_screen(pilot))


async def test_the_question_about_leaving_goes_when_the_push_has_ended() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: pilot.app.folded.pushing)  # type: ignore[attr-defined]
        await pilot.press("q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        session.end(tuple(session.state.nodes), "committed")
        await until(pilot, lambda: screen_key(pilot) == "fleet")
        assert not session.stopped
        await pilot.press("q")
        await until(pilot, lambda: session.stopped)


async def test_key_bar_offers_to_stop_while_a_push_runs() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        assert "escape" not in bar(pilot)
        await pilot.press("r")
        await until(pilot, lambda: "escape Stop the push" in bar(pilot))
        assert "Push all" not in bar(pilot)
        assert "Roll back" not in bar(pilot)
        session.end(tuple(session.state.nodes), "committed")
        await until(pilot, lambda: "Push all 11 nodes" in bar(pilot))


async def test_a_held_push_key_says_nothing_ten_times() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        clock = with_clock(pilot)
        await typed(pilot, clock, *"rrrrrrrrrr", every_s=0.03)
        assert len(session.of_kind("deploy")) == 1
        assert notes(pilot) == ""


async def test_marks_that_the_filter_hides_are_told() -> None:
    session = FakeSession(healthy_state())
    async with console(session, (120, 30)) as pilot:
        await pilot.press("down", "space", "down", "space", "slash", *"gpu", "enter")
        await until(pilot, lambda: "Push 2 nodes (all hidden by the filter)" in bar(pilot))
        await pilot.press("slash", *["backspace"] * 3, *"01", "enter")
        await until(pilot, lambda: "Push 2 nodes (1 hidden by the filter)" in bar(pilot))
        await pilot.press("slash", "escape")
        await until(pilot, lambda: "Push 2 nodes " in bar(pilot) and "hidden" not in bar(pilot))


async def test_palette_offers_no_push_for_a_word_that_only_shares_its_letters() -> None:
    async with console(FakeSession(healthy_state())) as pilot:
        await pilot.press("colon")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "CommandPalette")
        await pilot.press(*"mark")
        options = pilot.app.screen.query_one("CommandList")
        await until(pilot, lambda: options.option_count >= 2)  # type: ignore[attr-defined]
        provider = KeyCommands(pilot.app.screen_stack[0])
        assert [hit async for hit in provider.search("theme")] == []
        assert [hit.help async for hit in provider.search("browser")]  # type: ignore[union-attr]


async def test_rollback_over_drift_says_so_and_accepts_it() -> None:
    session = FakeSession(troubled_state())
    async with console(session) as pilot:
        await pilot.press("down", "down", "space", "u")
        await until(pilot, lambda: "node-02 drifted" in panel_text(pilot, "#text"))
        await pilot.click("#yes")
        await until(pilot, lambda: session.of_kind("rollback"))
        assert session.asked == [("rollback", ("node-02",), None, True)]


async def test_a_partition_is_told_where_it_is_looked_for() -> None:
    state = healthy_state()
    apart = {**state.upstreams[UpstreamName.OKOME], "frontend": down("connection refused")}
    state = replace(state, upstreams={**state.upstreams, UpstreamName.OKOME: apart})
    state = replace(state, topology=state.topology.model_copy(update={"frontend": "frontend"}))
    async with console(FakeSession(state), (80, 24)) as pilot:
        await until(pilot, lambda: "here up; " in panel_text(pilot, "#upstreams"))
        told = "okome down from here: connection refused, up from your machine"
        await until(pilot, lambda: told in panel_text(pilot, "#detail"))


async def test_counts_name_their_window() -> None:
    async with console(FakeSession(healthy_state()), (200, 30)) as pilot:
        assert "5xx, 15 min" in on_screen(pilot)


async def test_a_failed_stream_was_not_measured() -> None:
    result = a_probe()
    failed = replace(result.paths[0], plain=a_failed_stream())
    cells = stream.rows(replace(result, paths=(failed,)))["gpu"]
    assert (cells["stalls"].text, cells["buffered"].text) == ("–", "–")
    assert cells["stalls"].why == "502 Bad Gateway"


@pytest.mark.parametrize("width", [60, 80])
async def test_top_line_shows_the_verdict_whole(width: int) -> None:
    async with console(FakeSession(troubled_state()), (width, 24)) as pilot:
        top = pilot.app.screen.query_one(TopLine)
        await until(pilot, lambda: top.words.endswith("outage: okome-down"))


def test_a_healthy_fleet_is_not_contradicted_by_a_remark() -> None:
    remark = replace(okome_down(), severity="info", code="not-deployed")
    state = healthy_state(diagnosis=Reading(Diagnosis("healthy", (remark,)), NOW))
    assert short_verdict(state).text == "healthy, 1 remark"
