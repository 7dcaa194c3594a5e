"""Events: what happened, and the requests of all nodes as they come in."""

from collections.abc import Iterable

from textual.containers import Container, Vertical
from textual.widget import Widget

from kome_tui.state import ConsoleState
from kome_tui.ui.ink import Span, joined, line, plain
from kome_tui.ui.keys import bindings
from kome_tui.ui.present import events
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.panel import Panel


class EventsScreen(KomeScreen):
    """Event log and request log, under one filter."""

    KEY = "events"
    CSS_PATH = "events.tcss"
    FILTER = "words a line must contain"
    BINDINGS = bindings("events")

    def compose_body(self) -> Iterable[Widget]:
        """Events, requests."""
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
        log = events.log(state.events, self.filter_words)
        requests = events.requests(state, self.filter_words)
        self.query_one("#events-title", Panel).show((self._title("Events", len(log)),))
        self.query_one("#requests-title", Panel).show((self._title("Requests", len(requests)),))
        self.query_one("#log", LineView).show(log or events.nothing(self.filter_words, "event"))
        shown = requests or events.nothing(self.filter_words, "request")
        self.query_one("#requests", LineView).show(shown)

    def copied(self) -> str:
        """The lowest line in sight of the log that has the keys; without one, all events."""
        for view in self.query(LineView):
            if view.has_focus:
                return plain(view.last_in_sight)
        return joined(self.query_one("#log", LineView).lines)

    def _title(self, what: str, count: int) -> tuple[Span, ...]:
        words = f"  containing “{self.filter_words}”" if self.filter_words else ""
        return line(Span(what, "strong"), Span(f"  {count}{words}", "dim"))
