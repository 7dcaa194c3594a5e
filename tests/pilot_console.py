"""The console under a pilot, on a fake session: open it, press keys, read what it shows."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

from textual.pilot import Pilot

from kome_tui.ui import app as app_module
from kome_tui.ui.app import KomeApp
from kome_tui.ui.fast_typing import FastTyping
from kome_tui.ui.ink import joined
from kome_tui.ui.push_desk import PushDesk
from kome_tui.ui.widgets.grid import Grid
from kome_tui.ui.widgets.key_bar import KeyBar
from kome_tui.ui.widgets.panel import Panel
from tests.builders_state import (
    NOW,
)
from tests.fake_session import FakeSession
from tests.pilot_waiting import until


@asynccontextmanager
async def console(
    session: FakeSession, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[Pilot[None]]:
    """The console on a fake session, with its first table drawn."""
    app = KomeApp(session, clock=lambda: NOW)
    app.animation_level = "none"
    between_keys = itertools.count(0, 10).__next__  # every key is pressed with deliberation
    app._typing, app._desk = FastTyping(between_keys), PushDesk(app, session, between_keys)
    # Tests wait for what is drawn; the rate has a test of its own.
    with patch.object(app_module, "REDRAW_S", 0.02):
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
