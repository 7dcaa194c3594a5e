"""The console under a pilot: what its screens show, at every size, live and frozen."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from kome_tui.reading import Reading
from kome_tui.state import Diagnosed, LogEntry, Noted, ProbeSeen, ProbeStarted, TrafficSeen
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.model import Diagnosis
from kome_tui.ui import app as app_module
from kome_tui.ui.app import KomeApp
from kome_tui.ui.ink import joined
from kome_tui.ui.present import stream
from kome_tui.ui.present.triage import short_verdict
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.widgets.grid import Grid
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.top_line import TopLine
from tests.builders_state import (
    NOW,
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
from tests.pilot_console import bar, console, notes, on_screen, panel_text, screen_key
from tests.pilot_waiting import until


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
