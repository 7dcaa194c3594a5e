"""The console under a pilot: dialogs, filters, words typed by mistake, the palette."""

import pytest
from textual import events
from textual.widgets import Button, Input

from kome_tui.ui.palette import KeyCommands
from kome_tui.ui.screens.question import Question
from kome_tui.ui.widgets.grid import Grid
from kome_tui.ui.widgets.top_line import TopLine
from tests.builders_state import (
    healthy_state,
    troubled_state,
)
from tests.fake_session import FakeSession
from tests.pilot_console import (
    bar,
    console,
    nodes_shown,
    notes,
    panel_text,
    screen_key,
    typed,
    with_clock,
)
from tests.pilot_waiting import until


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


async def test_keys_typed_ahead_answer_a_dialog_once() -> None:
    session = FakeSession(healthy_state())
    async with console(session) as pilot:
        await pilot.press("u")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        yes = pilot.app.screen.query_one("#yes", Button)
        yes.press()
        yes.press()
        await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
        assert len(session.of_kind("rollback")) == 1


async def test_a_bug_is_told_in_one_line() -> None:
    async with console(FakeSession(healthy_state())) as pilot:
        app = pilot.app
        app._exception = ValueError("[b]it\nbroke")
        app._fatal_error()
        shown = "".join(part.text for all_of in app._exit_renderables for part in all_of.segments)
        assert " ".join(shown.split()) == (
            "kome-tui: a bug in kome-tui: ValueError: [b]it\\x0abroke (KOME_DEBUG=1 shows where)"
        )
        app._exception = None


async def test_dialog_keeps_its_buttons_in_sight_on_a_small_terminal() -> None:
    async with console(FakeSession(troubled_state()), (80, 24)) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        buttons = pilot.app.screen.query(Button)
        await until(pilot, lambda: all(one.region.bottom <= 24 for one in buttons))
        assert all(one.region.height for one in buttons)


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


async def test_y_copies_what_is_under_the_cursor() -> None:
    async with console(FakeSession(troubled_state())) as pilot:
        await pilot.press("down", "down", "y")
        assert "Node: node-02" in pilot.app.clipboard
        assert "Sent to the terminal's clipboard:\nNode: node-02" in notes(pilot)
        await pilot.press("4")
        await until(pilot, lambda: "Start OKOME" in panel_text(pilot, "#detail"))
        await pilot.press("y")
        assert "OKOME does not answer" in pilot.app.clipboard


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
