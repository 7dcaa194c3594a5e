"""The console itself, under a pilot, on a practice fleet: what an operator does in a bad night."""

import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from kome_tui.fleet.fleet import Fleet
from kome_tui.lab.control import send
from kome_tui.nginx import render
from kome_tui.session import Session
from kome_tui.state import ConsoleState
from kome_tui.topology.load import load, packaged_file
from kome_tui.ui.app import KomeApp
from kome_tui.ui.ink import joined
from kome_tui.ui.screens.question import Question
from kome_tui.ui.widgets.grid import Grid
from kome_tui.ui.widgets.panel import Panel
from tests.lab_fixture import RunningLab, lab_process
from tests.pilot_waiting import until

PUSH_S = 40.0
SEEN_S = 20.0


@pytest.fixture
def bare_lab(tmp_path: Path, own_home: Path) -> Iterator[RunningLab]:
    with lab_process(tmp_path) as lab:
        yield lab


@asynccontextmanager
async def console(
    lab: RunningLab, topology: Path | None = None
) -> AsyncIterator[tuple[KomeApp, Pilot[None]]]:
    """The console on a lab, once it has seen every node. Leaving it ends the session."""
    path = topology or lab.topology
    fleet = Fleet(load(path), lab.ssh_config)
    session = Session(load(path), str(path), fleet, is_lab=True, read_only=False)
    app = KomeApp(session)
    app.animation_level = "none"
    try:
        async with app.run_test(size=(140, 40)) as pilot:
            await until(pilot, lambda: _all_seen(app.folded), SEEN_S)
            yield app, pilot
    finally:
        session.stop()


def _all_seen(state: ConsoleState) -> bool:
    return all(node.facts.or_none() is not None for node in state.nodes.values())


def _outcomes(app: KomeApp) -> dict[str, str]:
    report = app.folded.last_push
    return {} if report is None else {name: seen.outcome for name, seen in report.nodes.items()}


def _codes(app: KomeApp) -> list[str]:
    diagnosis = app.folded.diagnosis.or_none()
    return [] if diagnosis is None else [finding.code for finding in diagnosis.findings]


def _panel(app: KomeApp, selector: str) -> str:
    return joined(app.screen.query_one(selector, Panel).lines)


async def _push_all(app: KomeApp, pilot: Pilot[None]) -> None:
    """Press the key, say yes where it asks, and wait for the report of this push."""
    before = app.folded.last_push

    def reported() -> bool:  # a refused push can be over before anybody saw it run
        return app.folded.last_push is not before and not app.folded.pushing

    await pilot.press("r")
    await until(pilot, lambda: reported() or isinstance(app.screen, Question), PUSH_S)
    if isinstance(app.screen, Question):
        await pilot.click("#yes")
    await until(pilot, reported, PUSH_S)


async def test_open_redeploy_break_find_heal(bare_lab: RunningLab) -> None:
    async with console(bare_lab) as (app, pilot):
        await _push_all(app, pilot)
        assert list(_outcomes(app).values()) == ["committed"] * 11
        grid = app.screen.query_one("#nodes", Grid)
        await until(
            pilot,
            lambda: all(grid.shown[name]["progress"].text == "committed" for name in grid.shown),
        )
        await until(pilot, lambda: _codes(app) == [], SEEN_S)
        await until(pilot, lambda: _counted(app.folded), SEEN_S)

        send(bare_lab.directory, "break", "okome-down")
        await pilot.press("4")
        await until(pilot, lambda: _codes(app)[:1] == ["okome-down"], SEEN_S)
        await until(pilot, lambda: "okome-down" in _panel(app, "#detail"), SEEN_S)
        assert "1." in _panel(app, "#detail")

        send(bare_lab.directory, "heal")
        await until(pilot, lambda: _codes(app) == [], SEEN_S)

        send(bare_lab.directory, "break", "partition-frontend-okome")
        await until(pilot, lambda: _codes(app)[:1] == ["partition-frontend-okome"], SEEN_S)
        around = str(load(bare_lab.topology).upstreams.okome)
        await until(pilot, lambda: f"http://{around}" in _panel(app, "#detail"), SEEN_S)
        assert "tried" in _panel(app, "#detail")
        send(bare_lab.directory, "heal")
        await until(pilot, lambda: _codes(app) == [], SEEN_S)


async def test_a_refused_directive_leaves_every_node_serving_the_old_release(
    bare_lab: RunningLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with console(bare_lab) as (app, pilot):
        await _push_all(app, pilot)
        before = _live(app)
    broken = tmp_path / "templates"
    shutil.copytree(packaged_file("templates"), broken)
    part = broken / "nginx" / "parts" / "base.conf.j2"
    part.write_text(part.read_text() + "\nno_such_directive on;\n")
    monkeypatch.setattr(render, "packaged_file", lambda name: tmp_path / name)
    render.environment.cache_clear()
    try:
        async with console(bare_lab) as (app, pilot):
            await _push_all(app, pilot)
            seen = _outcomes(app)
            assert set(seen.values()) == {"refused"}
            assert _live(app) == before
            await pilot.press("2")
            await until(pilot, lambda: "no_such_directive" in _screen_text(app), SEEN_S)
    finally:
        render.environment.cache_clear()


async def test_a_port_somebody_holds_is_said_and_nothing_is_lost(
    bare_lab: RunningLab, tmp_path: Path
) -> None:
    async with console(bare_lab) as (app, pilot):
        await _push_all(app, pilot)
        before = _live(app)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        was = load(bare_lab.topology).http_of("node-05").port
        moved = tmp_path / "moved.yaml"
        text = bare_lab.topology.read_text()
        moved.write_text(text.replace(f"port: {was}\n", f"port: {other.getsockname()[1]}\n"))
        async with console(bare_lab, moved) as (app, pilot):
            await _push_all(app, pilot)
            assert _outcomes(app)["node-05"] == "refused"
            assert _live(app) == before
            await pilot.press("2")
            await until(pilot, lambda: "Address already in use" in _screen_text(app), SEEN_S)


def _live(app: KomeApp) -> dict[str, str | None]:
    report = app.folded.last_push
    assert report is not None
    return {name: seen.release for name, seen in report.nodes.items()}


def _counted(state: ConsoleState) -> bool:
    """Whether some node has a hit rate."""
    readings = (node.traffic.or_none() for node in state.nodes.values())
    return any(seen is not None and seen.last_minute.rate is not None for seen in readings)


def _screen_text(app: KomeApp) -> str:
    return "\n".join(joined(panel.lines) for panel in app.screen.query(Panel))
