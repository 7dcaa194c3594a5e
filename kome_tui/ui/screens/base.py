"""What the five screens share: the state they are given, the line at the top, filter, key bar.

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
from kome_tui.ui.messages import FilterChanged
from kome_tui.ui.present import words
from kome_tui.ui.present.push import push_label
from kome_tui.ui.present.triage import short_verdict
from kome_tui.ui.widgets.filter_box import FilterBox
from kome_tui.ui.widgets.key_bar import KeyBar
from kome_tui.ui.widgets.top_line import TopLine


class KomeScreen(Screen[None]):
    """A screen that shows a ConsoleState."""

    KEY = ""
    """Its name in the key table."""
    FILTER = ""
    """What `/` filters by; empty: there is nothing to filter, and words typed there go nowhere."""
    AUTO_FOCUS = "Grid, LineView"

    state: reactive[ConsoleState | None] = reactive(None, init=False)
    marked: reactive[frozenset[str]] = reactive(frozenset[str](), init=False)
    frozen: reactive[bool] = reactive(False, init=False)

    def __init__(self) -> None:
        super().__init__()
        self.filter_words = ""

    def compose(self) -> ComposeResult:
        """Top line, filter, the screen's own widgets, key bar."""
        yield TopLine(self.KEY)
        yield FilterBox(self.FILTER)
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

    def out_of_sight(self, state: ConsoleState) -> int:
        """How many marked nodes the filter hides; their marks count all the same."""
        return 0

    def action_filter(self) -> None:
        """Type words that must be there."""
        self.query_one(FilterBox).open()

    def on_filter_changed(self, event: FilterChanged) -> None:
        """Show what matches; give the keys back when the filter has gone."""
        event.stop()
        self.filter_words = event.words
        self.refresh_state()
        if not event.words and not self.query_one(FilterBox).has_focus:
            body = (widget for widget in self.query(self.AUTO_FOCUS) if widget.focusable)
            self.set_focus(next(body, None))

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
        self.query_one(KeyBar).show(self._names(state))

    def _names(self, state: ConsoleState) -> dict[str, str]:
        """What keys would do now; empty: that key does nothing now."""
        names = {"freeze": "Go on" if self.frozen else "Freeze", "step_back": ""}
        if state.pushing:
            return names | {"redeploy": "", "roll_back": "", "step_back": "Stop the push"}
        label = push_label(state, self.marked, hidden=self.out_of_sight(state))
        return names | {"redeploy": "Push: read-only" if state.read_only else label}
