"""Many lines, scrolled: the event log, the requests, a diff.

Draws only the lines in sight, so its cost does not grow with the log. Follows the end only while
the end is in sight: a reader who scrolled up stays where they are.
"""

from collections.abc import Iterable

from rich.cells import cell_len
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from kome_tui.ui.ink import Line, plain
from kome_tui.ui.widgets.paint import strip


class LineView(ScrollView, can_focus=True):
    """Shows lines, literally. `follow` keeps the newest line in sight."""

    def __init__(self, *, follow: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: tuple[Line, ...] = ()
        self._follow = follow

    def show(self, lines: Iterable[Line]) -> None:
        """Show `lines` instead of what is shown now."""
        wanted = tuple(lines)
        if wanted == self.lines:
            return
        at_end = self.scroll_offset.y >= self.max_scroll_y
        self.lines = wanted
        width = max((cell_len(plain(one)) for one in wanted), default=0)
        self.virtual_size = Size(width, len(wanted))
        if self._follow and at_end:
            self.scroll_end(animate=False)
        self.refresh()

    @property
    def last_in_sight(self) -> Line:
        """The lowest line that can be read now; empty without any."""
        end = min(len(self.lines), self.scroll_offset.y + self.size.height)
        return self.lines[end - 1] if end > 0 else ()

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        left, top = self.scroll_offset
        base = self.rich_style
        width = self.size.width
        index = top + y
        if index >= len(self.lines):
            return Strip.blank(width, base)
        return strip(self.lines[index], base).crop_extend(left, left + width, base)

    def show_line(self, index: int) -> None:
        """Bring a line into sight."""
        self.scroll_to_region(Region(0, index, 1, 1), animate=False)
