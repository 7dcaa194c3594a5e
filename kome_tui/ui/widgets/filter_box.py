"""The filter: one line of input that comes with `/` and goes with escape.

Screens without anything to filter have it too: words typed after `/` must never run as commands.
"""

from textual.binding import Binding
from textual.widgets import Input

from kome_tui.ui.messages import FilterChanged


class FilterBox(Input):
    """Posts FilterChanged as words are typed. Enter keeps the words, escape clears them."""

    BINDINGS = [Binding("escape", "clear", "Clear filter", show=False)]  # noqa: RUF012 - Textual's own form

    def __init__(self, filters_by: str) -> None:
        """`filters_by`: what the words are compared with; empty: nothing, and none is kept."""
        nothing = "Nothing to filter here. Escape or enter goes back."
        super().__init__(placeholder=filters_by or nothing, compact=True, disabled=True)
        self._filters = bool(filters_by)
        self.display = False

    def open(self) -> None:
        """Show the line and take the keys."""
        self.disabled = False  # out of sight it must not take keys
        self.display = True
        self.screen.set_focus(self)  # now: Widget.focus would let the next key pass by

    def action_clear(self) -> None:
        """Show everything again."""
        self.value = ""
        self._close()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Pass the words on."""
        event.stop()
        if not self._filters:
            self.value = ""
            return
        self.post_message(FilterChanged(self.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the keys back to what is filtered; without words, go away."""
        event.stop()
        self.screen.focus_next()
        if not self.value.strip():
            self._close()

    def _close(self) -> None:
        self.display = False
        self.disabled = True
        self.post_message(FilterChanged(""))
