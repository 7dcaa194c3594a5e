"""The parts alone: keys, inbox, held key, background work, widgets with made-up state."""

import asyncio
import re
import threading
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.widget import Widget

from kome_tui.state import Event, ProbeStarted
from kome_tui.ui import browser
from kome_tui.ui.app import KomeApp
from kome_tui.ui.background import in_background
from kome_tui.ui.fast_typing import FastTyping
from kome_tui.ui.held_key import HeldKey
from kome_tui.ui.inbox import Inbox
from kome_tui.ui.ink import Cell, Span, line
from kome_tui.ui.keys import ALL_SCREENS, KEYS, bar_of, bindings, help_lines
from kome_tui.ui.screens.events import EventsScreen
from kome_tui.ui.screens.fleet import FleetScreen
from kome_tui.ui.screens.release import ReleaseScreen
from kome_tui.ui.screens.stream import StreamScreen
from kome_tui.ui.screens.triage import TriageScreen
from kome_tui.ui.widgets.grid import Column, Grid, fitting
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.panel import Panel
from kome_tui.ui.widgets.top_line import TopLine
from tests.pilot_waiting import until

UI = Path(__file__).parent.parent / "kome_tui" / "ui"
SCREENS = {
    "fleet": FleetScreen,
    "release": ReleaseScreen,
    "stream": StreamScreen,
    "triage": TriageScreen,
    "events": EventsScreen,
}


class Alone(App[None]):
    """One widget and nothing else."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget


def test_every_key_has_its_action() -> None:
    for key in KEYS:
        name = key.action.partition("(")[0]
        owners = [SCREENS[screen] for screen in key.screens] or [KomeApp]
        assert all(hasattr(owner, f"action_{name}") for owner in owners), key.key


def test_no_key_is_bound_twice() -> None:
    for screen in ALL_SCREENS:
        keys = [key.key for key in KEYS if not key.screens or screen in key.screens]
        assert len(keys) == len(set(keys))


def test_bindings_bar_and_help_come_from_the_table() -> None:
    assert len(bindings("app")) == len([key for key in KEYS if not key.screens])
    assert len(help_lines()) == len(KEYS)
    for screen in ALL_SCREENS:
        assert bar_of(screen)
        assert {key.action for key in bar_of(screen)} >= {"help", "quit"}


def test_bars_name_only_what_the_screen_can_do() -> None:
    for key in KEYS:
        if key.screens:
            assert set(key.bar) <= set(key.screens)


def test_app_class_stays_small() -> None:
    source = (UI / "app.py").read_text(encoding="utf-8")
    assert source.count("\n") < 250


def test_widgets_never_read_the_app() -> None:
    for path in (UI / "widgets").glob("*.py"):
        assert not re.search(r"self\.app\b", path.read_text(encoding="utf-8")), path.name


def test_every_screen_has_its_stylesheet_beside_it() -> None:
    for screen in SCREENS.values():
        assert (UI / "screens" / str(screen.CSS_PATH)).is_file()


def test_held_key_lets_one_press_through() -> None:
    now = 0.0
    key = HeldKey(lambda: now, quiet_s=1.5)
    assert key.is_new_press()
    for _ in range(50):
        now += 0.5
        assert not key.is_new_press()
    now += 1.5
    assert key.is_new_press()


@pytest.mark.parametrize(
    ("presses", "counted"),
    [
        ("r", "r"),
        ("4r", "4r"),  # a screen, then a push on it
        (" r", " r"),  # a mark, then a push
        ("err", "e"),
        ("trq", "t"),
        ("e r", "e "),
        ("/r", "/"),
        ("rrr", "rrr"),  # held down: held_key.py says which of them push
        ("e\nr", "e\nr"),
        ("tpfy", "tpfy"),  # none of these changes anything
    ],
)
def test_letters_of_a_word_are_no_commands(presses: str, counted: str) -> None:
    now = 0.0
    typing = FastTyping(lambda: now)
    seen = ""
    for press in presses:
        seen += press * typing.counts(press, press, is_input=False)
        now += 0.2
    assert seen == counted


def test_a_letter_counts_after_a_pause_and_inside_an_input() -> None:
    now = 0.0
    typing = FastTyping(lambda: now)
    assert typing.counts("e", "e", is_input=False)
    assert typing.counts("r", "r", is_input=True)
    now += 0.5
    assert typing.counts("r", "r", is_input=False)


def test_inbox_rings_once_for_many_events_and_keeps_their_order() -> None:
    rung: list[int] = []
    inbox = Inbox(lambda: rung.append(1))
    for at in range(5):
        inbox.put(ProbeStarted(at))
    assert len(rung) == 1
    assert inbox.take() == [ProbeStarted(at) for at in range(5)]
    inbox.put(ProbeStarted(9))
    assert len(rung) == 2


def test_inbox_loses_nothing_between_threads() -> None:
    bell = threading.Event()
    inbox = Inbox(bell.set)
    threads = [
        threading.Thread(target=lambda: [inbox.put(ProbeStarted(at)) for at in range(2000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    seen: list[Event] = []
    while len(seen) < 8000:
        assert bell.wait(10)
        bell.clear()
        seen += inbox.take()
    for thread in threads:
        thread.join(10)
    assert inbox.take() == []


async def test_background_work_returns_or_raises() -> None:
    assert await in_background(lambda: 7, 5) == 7

    def fails() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await in_background(fails, 5)


async def test_background_work_has_a_deadline_and_its_late_end_is_harmless() -> None:
    gate = threading.Event()
    with pytest.raises(TimeoutError):
        await in_background(lambda: gate.wait(30), 0.05)
    gate.set()
    await asyncio.sleep(0)


def test_background_work_that_hangs_does_not_keep_the_program() -> None:
    gate = threading.Event()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await in_background(lambda: gate.wait(60), 0.05)

    asyncio.run(run())  # would wait for an executor's thread
    left = [thread for thread in threading.enumerate() if thread.name == "kome-ui-work"]
    assert left
    assert all(thread.daemon for thread in left)
    gate.set()


def test_no_text_browser_takes_over_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(browser.webbrowser, "get", lambda: pytest.fail("looked for a browser"))
    assert browser.open_page("http://127.0.0.1:8000") is False
    monkeypatch.setenv("DISPLAY", ":9")
    lynx = browser.webbrowser.GenericBrowser("lynx")
    monkeypatch.setattr(browser.webbrowser, "get", lambda: lynx)
    assert browser.open_page("http://127.0.0.1:8000") is False


COLUMNS = (
    Column("a", "A", 5, 0, stretch=True, grows_to=20),
    Column("b", "B", 5, 2),
    Column("c", "C", 5, 1, right=True),
)


def test_columns_leave_by_priority_and_the_first_stays() -> None:
    def kept(width: int) -> list[str]:
        return [column.key for column, _ in fitting(COLUMNS, {}, width)]

    assert kept(80) == ["a", "b", "c"]
    assert kept(15) == ["a", "c"]
    assert kept(3) == ["a"]


def test_a_long_name_widens_its_column() -> None:
    rows = {"x": {"a": Cell("node-frontend-1"), "b": Cell(""), "c": Cell("")}}
    widths = {column.key: width for column, width in fitting(COLUMNS, rows, 31)}
    assert widths["a"] >= 15


async def test_grid_writes_only_what_changed() -> None:
    grid = Grid(COLUMNS)
    async with Alone(grid).run_test(size=(60, 12)) as pilot:
        rows = {
            str(at): {"a": Cell(f"n{at}"), "b": Cell("x"), "c": Cell(str(at))} for at in range(5)
        }
        grid.show(rows)
        await until(pilot, lambda: grid.row_count == 5)
        written: list[tuple[str, str]] = []
        update = grid.update_cell
        grid.update_cell = lambda *args: (written.append(args[:2]), update(*args))  # type: ignore[assignment,method-assign,func-returns-value]
        changed = {**rows, "3": {**rows["3"], "b": Cell("y")}}
        grid.show(changed)
        assert written == [("3", "b")]
        grid.show(changed)
        assert len(written) == 1


async def test_grid_keeps_the_cursor_on_its_key_when_rows_go() -> None:
    grid = Grid(COLUMNS)
    async with Alone(grid).run_test(size=(60, 12)) as pilot:
        rows = {str(at): {"a": Cell(f"n{at}"), "b": Cell(""), "c": Cell("")} for at in range(5)}
        grid.show(rows)
        await until(pilot, lambda: grid.row_count == 5)
        grid.move_cursor(row=3)
        grid.show({key: rows[key] for key in ("1", "3", "4")})
        await pilot.pause()
        assert grid.current == "3"


async def test_panel_shows_brackets_as_they_are() -> None:
    panel = Panel()
    async with Alone(panel).run_test(size=(40, 5)) as pilot:
        panel.show((line(Span("[/x] "), Span("[bold]b[/bold]", "bad")),))
        await pilot.pause()
        assert str(panel.content) == "[/x] [bold]b[/bold]"


async def test_line_view_draws_wide_characters_in_their_cells() -> None:
    view = LineView()
    async with Alone(view).run_test(size=(20, 5)) as pilot:
        view.show((line("日本語 ok"), line("x" * 100)))
        await pilot.pause()
        assert view.render_line(0).cell_length == view.size.width
        assert view.virtual_size.width == 100


async def test_top_line_keeps_the_end_of_a_long_path() -> None:
    top = TopLine("fleet")
    async with Alone(top).run_test(size=(80, 5)) as pilot:
        top.show("home", "/a" * 200 + "/topology.yaml", ("LAB",), Span("healthy", "good"))
        await pilot.pause()
        first, second = top.words.split("\n")
        assert "topology.yaml" in first
        assert first.rstrip().endswith("[LAB]")
        assert len(first) <= 80
        assert "1 Fleet" in second
