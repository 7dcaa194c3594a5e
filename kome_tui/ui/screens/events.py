"""Events: what happened, and the requests of all nodes as they come in."""

from collections.abc import Iterable

from textual.containers import Container, Vertical
from textual.widget import Widget

from kome_tui.state import ConsoleState
from kome_tui.ui.ink import Span, joined, line, plain
from kome_tui.ui.keys import bindings
from kome_tui.ui.messages import FilterChanged
from kome_tui.ui.present import events
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.widgets.filter_box import FilterBox
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.panel import Panel


class EventsScreen(KomeScreen):
    """Event log and request log, under one filter."""

    KEY = "events"
    CSS_PATH = "events.tcss"
    BINDINGS = bindings("events")

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""

    def compose_body(self) -> Iterable[Widget]:
        """Filter, events, requests."""
        yield FilterBox("words a line must contain")
        with Container(id="split"):
            with Vertical(classes="half"):
                yield Panel(id="events-title", classes="title")
                yield LineView(follow=True, id="log")
            with Vertical(classes="half"):
                yield Panel(id="requests-title", classes="title")
                yield LineView(follow=True, id="requests")

    def show(self, state: ConsoleState) -> None:
        """Bring both logs up to date."""
        self.set_class(self.size.width >= 150, "-wide")
        log = events.log(state.events, self._filter)
        requests = events.requests(state, self._filter)
        self.query_one("#events-title", Panel).show((self._title("Events", len(log)),))
        self.query_one("#requests-title", Panel).show((self._title("Requests", len(requests)),))
        self.query_one("#log", LineView).show(log or events.nothing(self._filter, "event"))
        shown = requests or events.nothing(self._filter, "request")
        self.query_one("#requests", LineView).show(shown)

    def copied(self) -> str:
        """The lowest line in sight of the log that has the keys; without one, all events."""
        for view in self.query(LineView):
            if view.has_focus:
                return plain(view.last_in_sight)
        return joined(self.query_one("#log", LineView).lines)

    def action_filter(self) -> None:
        """Type words that a line must contain."""
        self.query_one(FilterBox).open()

    def on_filter_changed(self, event: FilterChanged) -> None:
        """Show the lines that match."""
        event.stop()
        self._filter = event.words
        self.refresh_state()
        if not event.words and not self.query_one(FilterBox).has_focus:
            self.query_one("#log", LineView).focus()

    def _title(self, what: str, count: int) -> tuple[Span, ...]:
        words = f"  containing “{self._filter}”" if self._filter else ""
        return line(Span(what, "strong"), Span(f"  {count}{words}", "dim"))
