"""The console under a pilot: the keys that push, roll back, stop and leave."""

import threading

import pytest

from kome_tui.release.outcome import Progress
from kome_tui.ui import leaving
from kome_tui.ui.ink import joined
from kome_tui.ui.screens.question import Question
from kome_tui.ui.widgets.grid import Grid
from kome_tui.ui.widgets.line_view import LineView
from tests.builders_state import (
    BEHIND,
    WANTED,
    healthy_state,
    troubled_state,
)
from tests.fake_session import FakeSession, a_plan
from tests.pilot_console import bar, console, notes, panel_text, screen_key, typed, with_clock
from tests.pilot_waiting import until


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


async def test_rollback_over_drift_says_so_and_accepts_it() -> None:
    session = FakeSession(troubled_state())
    async with console(session) as pilot:
        await pilot.press("down", "down", "space", "u")
        await until(pilot, lambda: "node-02 drifted" in panel_text(pilot, "#text"))
        await pilot.click("#yes")
        await until(pilot, lambda: session.of_kind("rollback"))
        assert session.asked == [("rollback", ("node-02",), None, True)]
