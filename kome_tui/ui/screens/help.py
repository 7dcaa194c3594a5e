"""The help: the key table itself, and what the marks mean."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from kome_tui.ui.ink import Line, Span, line
from kome_tui.ui.keys import help_lines
from kome_tui.ui.widgets.panel import Panel

_NOTES: tuple[Line, ...] = (
    (),
    line(Span("       –  ", "accent"), "Not measured. The line below the table says why."),
    line(Span("     tab  ", "accent"), "Moves between table, logs and diff."),
    line(Span("  escape  ", "accent"), "Closes this."),
)


class HelpScreen(ModalScreen[None]):
    """Every key with one sentence."""

    CSS_PATH = "help.tcss"
    BINDINGS = [  # noqa: RUF012 - Textual's own form
        Binding("escape,question_mark,q", "dismiss", "Close", show=False),
    ]

    def compose(self) -> ComposeResult:
        """One scrolling panel."""
        with VerticalScroll(id="help"):
            yield Panel(id="keys")

    def on_mount(self) -> None:
        """Fill in the key table."""
        head = line(Span("Keys", "strong"))
        self.query_one("#keys", Panel).show((head, (), *help_lines(), *_NOTES))
