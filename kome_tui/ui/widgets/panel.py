"""A few lines of text that change now and then."""

from collections.abc import Iterable

from textual.widgets import Static

from kome_tui.ui.ink import Line
from kome_tui.ui.widgets.paint import page


class Panel(Static):
    """Shows lines, literally. Showing the same lines again costs nothing."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", markup=False, id=id, classes=classes)
        self.lines: tuple[Line, ...] = ()

    def show(self, lines: Iterable[Line]) -> None:
        """Show `lines` instead of what is shown now."""
        wanted = tuple(lines)
        if wanted == self.lines:
            return
        resized = len(wanted) != len(self.lines)
        self.lines = wanted
        self.update(page(wanted), layout=resized or not self.styles.is_auto_height)
