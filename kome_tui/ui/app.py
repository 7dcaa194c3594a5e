"""The console: folds the session's events into one state, hands it to the screens, turns keys into
requests to the session.

Nothing here may block: the session works in its own threads, and what has to wait goes through
in_background with a deadline.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.app import App
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input

from kome_tui.errors import bug_line
from kome_tui.state import ConsoleState, Event, PushEnded, apply
from kome_tui.text import clean
from kome_tui.ui.background import in_background
from kome_tui.ui.browser import open_page
from kome_tui.ui.fast_typing import FastTyping, is_letter
from kome_tui.ui.inbox import Inbox
from kome_tui.ui.ink import plain
from kome_tui.ui.keys import bindings
from kome_tui.ui.leaving import Leaving
from kome_tui.ui.messages import Arrived, MarkWanted
from kome_tui.ui.palette import KeyCommands
from kome_tui.ui.present import push, triage, upstreams, words
from kome_tui.ui.push_desk import PushDesk
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.screens.events import EventsScreen
from kome_tui.ui.screens.fleet import FleetScreen
from kome_tui.ui.screens.help import HelpScreen
from kome_tui.ui.screens.question import Question
from kome_tui.ui.screens.release import ReleaseScreen
from kome_tui.ui.screens.stream import StreamScreen
from kome_tui.ui.screens.triage import TriageScreen
from kome_tui.ui.session_api import SessionApi
from kome_tui.ui.theme import FLEET_THEME, LAB_THEME

if TYPE_CHECKING:
    from kome_tui.release.plan import NodePlan

REDRAW_S = 0.35
"""Between two drawings: about 3 Hz, whatever the rate of events."""
BROWSER_DEADLINE_S = 10.0
NOTE_S = 4.0
READ_S = 15.0
"""For a note that holds something to copy by hand."""


class KomeApp(App[None]):
    """The operator's console on one session."""

    TITLE = "kome-tui"
    CSS_PATH = "app.tcss"
    BINDINGS = bindings("app")
    COMMANDS = {KeyCommands}  # noqa: RUF012 - Textual's own form

    state: reactive[ConsoleState | None] = reactive(None, init=False)
    marked: reactive[frozenset[str]] = reactive(frozenset[str](), init=False)
    frozen: reactive[bool] = reactive(False, init=False)

    def __init__(self, session: SessionApi, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.session = session
        self.folded = session.state
        """The newest state; `state` is what is shown."""
        self._clock = clock
        self._inbox = Inbox(lambda: self.post_message(Arrived()))
        self._desk = PushDesk(self, session)
        self._redraw: Timer | None = None
        self._drawn_at = 0.0
        self._leaving = Leaving(self)
        self._typing = FastTyping(time.monotonic)
        self.set_reactive(KomeApp.state, session.state)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The variable that our themes add, for the moment before one of them is on."""
        return {"banner": FLEET_THEME.variables["banner"]}

    def on_mount(self) -> None:
        """Choose the theme, open the fleet, start sampling after the first paint."""
        for theme in (FLEET_THEME, LAB_THEME):
            self.register_theme(theme)
        self.theme = (LAB_THEME if self.folded.is_lab else FLEET_THEME).name
        screens: dict[str, Callable[[], KomeScreen]] = {
            "fleet": FleetScreen,
            "release": partial(ReleaseScreen, self._plan_all),
            "stream": StreamScreen,
            "triage": TriageScreen,
            "events": EventsScreen,
        }
        for name, make in screens.items():
            self.add_mode(name, partial(self._bound, make))
        self.switch_mode("fleet")
        self.set_interval(1.0, self._draw_unless_due)
        self.call_after_refresh(self.session.start, self._inbox.put)

    async def on_event(self, event: events.Event) -> None:
        """Every key comes by here first, once: letters of somebody's words run no command."""
        is_key = isinstance(event, events.Key) and not event.is_forwarded
        if not is_key or self._is_meant(event):  # type: ignore[arg-type]
            await super().on_event(event)

    def on_arrived(self) -> None:
        """Fold what has come, and draw it soon."""
        for event in self._inbox.take():
            self._fold(event)
        if self._redraw is None:
            wait = max(0.01, REDRAW_S - (time.monotonic() - self._drawn_at))
            self._redraw = self.set_timer(wait, self._draw)

    def on_mark_wanted(self, event: MarkWanted) -> None:
        """Mark a node, or take its mark away."""
        self.marked = self.marked ^ {event.node}

    def ask(self, question: Question, answered: Callable[[bool | None], None]) -> None:
        """Open a dialog."""
        self.push_screen(question, answered)

    def note(self, text: str, severity: str = "information", for_s: float = NOTE_S) -> None:
        """Say something in passing."""
        self.notify(text, severity=severity, markup=False, timeout=for_s)  # type: ignore[arg-type]

    def action_go(self, screen: str) -> None:
        """Open one of the five screens."""
        self.switch_mode(screen)

    def action_redeploy(self) -> None:
        """Push to the marked nodes, or to all."""
        self._desk.redeploy(self.marked)

    def action_roll_back(self) -> None:
        """Go back to the release before."""
        self._desk.roll_back(self.marked)

    def action_probe(self) -> None:
        """Measure one stream through every path."""
        self.action_go("stream")
        if not self.session.probe():
            self.note("A probe is running.")

    def action_triage(self) -> None:
        """Run every check and diagnose."""
        self.action_go("triage")
        if not self.session.triage():
            self.note("The checks are running.")

    def action_open_way_around(self) -> None:
        """Open OKOME itself in the browser, once it was seen to answer."""
        if not triage.may_open(self.folded, self._clock()):
            self.note(plain(triage.way_around(self.folded)), "warning")
            return
        url = upstreams.way_around_url(self.folded)
        self.run_worker(self._open(url), group="browser", exclusive=True, exit_on_error=False)

    def action_freeze(self) -> None:
        """Hold the picture still, or let it go on."""
        self.frozen = not self.frozen
        self._draw()

    def action_copy(self) -> None:
        """Copy the current row, finding or verdict. A terminal does not say whether it did."""
        if isinstance(self.screen, KomeScreen):
            text = "\n".join(clean(one) for one in self.screen.copied().split("\n"))
            self.copy_to_clipboard(text)
            self.note(f"Sent to the terminal's clipboard:\n{words.excerpt(text)}")

    def action_help(self) -> None:
        """List the keys."""
        self.push_screen(HelpScreen())

    def action_command_palette(self) -> None:
        """Open the palette, but never over a dialog."""
        if not isinstance(self.screen, ModalScreen):
            super().action_command_palette()

    def action_step_back(self) -> None:
        """Stop the running push, else go back to the fleet."""
        if not self._desk.stop():
            self.action_go("fleet")

    async def action_quit(self) -> None:
        """Leave; ask while a push runs."""
        self._leaving.wanted()

    def _fatal_error(self) -> None:
        """Leave with one line and exit code 1; KOME_DEBUG=1 brings Textual's traceback."""
        if self._exception is None or os.environ.get("KOME_DEBUG") == "1":
            super()._fatal_error()
        else:
            self.panic(Text(f"kome-tui: {clean(bug_line(self._exception))}"))  # no markup

    def _bound(self, make: Callable[[], KomeScreen]) -> KomeScreen:
        return make().data_bind(KomeApp.state, KomeApp.marked, KomeApp.frozen)

    def _fold(self, event: Event) -> None:
        self.folded = apply(self.folded, event)
        if isinstance(event, PushEnded):
            self.note(*push.ended(event.report, event.error))
            self._leaving.push_ended()

    def _draw_unless_due(self) -> None:
        if self._redraw is None:  # else a drawing is on its way; a second one would double the rate
            self._draw()

    def _draw(self) -> None:
        if self._redraw is not None:
            self._redraw.stop()
        self._redraw = None
        self._drawn_at = time.monotonic()
        if not self.frozen:
            self.state = replace(self.folded, now=max(self.folded.now, self._clock()))

    async def _plan_all(self) -> Mapping[str, NodePlan]:
        return await self._desk.plan(tuple(self.folded.nodes))

    async def _open(self, url: str) -> None:
        try:
            opened = await in_background(lambda: open_page(url), BROWSER_DEADLINE_S)
        except (OSError, TimeoutError):
            opened = False
        if opened:
            self.note(f"Opened {url} in the browser.")
        else:
            self.copy_to_clipboard(url)
            sent = "It was sent to the terminal's clipboard too."
            self.note(f"No browser here. Open {url} yourself. {sent}", "warning", READ_S)

    def _is_meant(self, event: events.Key) -> bool:
        is_input = isinstance(self.focused, Input) or isinstance(self.screen, ModalScreen)
        if not self._typing.counts(event.key, event.character, is_input):
            self.note(f"Typed too fast to be a command: {event.key} ignored.", "warning")
            return False
        if not is_input and event.key != "r":
            self._desk.went_on(is_letter(event.character))
        return True
