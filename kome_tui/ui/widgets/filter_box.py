"""The filter: one line of input that comes with `/` and goes with escape."""

from textual.binding import Binding
from textual.widgets import Input

from kome_tui.ui.messages import FilterChanged


class FilterBox(Input):
    """Posts FilterChanged as words are typed. Enter keeps the words, escape clears them."""

    BINDINGS = [Binding("escape", "clear", "Clear filter", show=False)]  # noqa: RUF012 - Textual's own form

    def __init__(self, placeholder: str) -> None:
        super().__init__(placeholder=placeholder, compact=True, disabled=True)
        self.display = False

    def open(self) -> None:
        """Show the line and take the keys."""
        self.disabled = False  # out of sight it must not take keys
        self.display = True
        self.focus()

    def action_clear(self) -> None:
        """Show everything again."""
        self.value = ""
        self._close()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Pass the words on."""
        event.stop()
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
