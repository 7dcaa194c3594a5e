"""What the five screens share: the state they are given, the line at the top, the key bar.

Each screen has a `state` of its own that the app binds when it makes the screen; binding inside
compose would bind to the wrong parent. Screens out of sight are not drawn.
"""

from abc import abstractmethod
from collections.abc import Iterable

from textual.app import ComposeResult
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from kome_tui.state import ConsoleState
from kome_tui.ui.present import words
from kome_tui.ui.present.push import push_label
from kome_tui.ui.present.triage import short_verdict
from kome_tui.ui.widgets.key_bar import KeyBar
from kome_tui.ui.widgets.top_line import TopLine


class KomeScreen(Screen[None]):
    """A screen that shows a ConsoleState."""

    KEY = ""
    """Its name in the key table."""
    AUTO_FOCUS = "Grid, LineView"

    state: reactive[ConsoleState | None] = reactive(None, init=False)
    marked: reactive[frozenset[str]] = reactive(frozenset[str](), init=False)
    frozen: reactive[bool] = reactive(False, init=False)

    def compose(self) -> ComposeResult:
        """Top line, the screen's own widgets, key bar."""
        yield TopLine(self.KEY)
        yield from self.compose_body()
        yield KeyBar(self.KEY)

    @abstractmethod
    def compose_body(self) -> Iterable[Widget]:
        """The screen's own widgets."""

    @abstractmethod
    def show(self, state: ConsoleState) -> None:
        """Bring every widget up to date."""

    @abstractmethod
    def copied(self) -> str:
        """What `y` copies."""

    def refresh_state(self) -> None:
        """Draw the state again, if the screen can be seen (a dialog over it lets it through)."""
        if self.state is None or not self.is_mounted or self not in self.app.screen_stack:
            return
        self._show_frame(self.state)
        self.show(self.state)

    def watch_state(self) -> None:
        self.refresh_state()

    def watch_marked(self) -> None:
        self.refresh_state()

    def watch_frozen(self) -> None:
        self.refresh_state()

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.refresh_state)

    def on_resize(self) -> None:
        self.call_after_refresh(self.refresh_state)

    def _show_frame(self, state: ConsoleState) -> None:
        marks: list[str] = []
        if state.pushing:
            marks.append("PUSHING")
        if self.frozen:
            marks.append(f"FROZEN {words.clock(state.now)}")
        if state.read_only:
            marks.append("READ-ONLY")
        if state.is_lab:
            marks.append("LAB")
        top = self.query_one(TopLine)
        top.show(state.topology.fleet, state.source, tuple(marks), short_verdict(state))
        names = {
            "redeploy": "Push: read-only" if state.read_only else push_label(state, self.marked),
            "freeze": "Go on" if self.frozen else "Freeze",
        }
        self.query_one(KeyBar).show(names)
