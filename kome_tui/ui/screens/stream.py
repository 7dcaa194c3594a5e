"""The stream probe: gaps of every path, their arrivals, and the hop that clumps."""

from collections.abc import Iterable

from textual.containers import VerticalScroll
from textual.widget import Widget

from kome_tui.state import ConsoleState
from kome_tui.ui.ink import joined
from kome_tui.ui.keys import bindings
from kome_tui.ui.present import stream
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.widgets.grid import Column, Grid
from kome_tui.ui.widgets.panel import Panel

COLUMNS = (
    Column("path", "Path", 11, 0, stretch=True, grows_to=24),
    Column("word", "Stream", 7, 0),
    Column("ttft", "TTFT", 7, 1, right=True),
    Column("tokens", "Tokens", 6, 6, right=True),
    Column("p50", "Gap p50", 7, 2, right=True),
    Column("p95", "p95", 7, 8, right=True),
    Column("p99", "p99", 7, 7, right=True),
    Column("max", "max", 7, 3, right=True),
    Column("tpot", "TPOT", 7, 9, right=True),
    Column("stalls", "Stalls", 6, 4, right=True),
    Column("burst", "Burst", 5, 5, right=True),
    Column("buffered", "Buffered", 8, 10),
)


class StreamScreen(KomeScreen):
    """Verdict, table, strips, legend."""

    KEY = "stream"
    CSS_PATH = "stream.tcss"
    BINDINGS = bindings("stream")

    def compose_body(self) -> Iterable[Widget]:
        """Verdict, table, then strips and legend."""
        yield Panel(id="verdict")
        yield Grid(COLUMNS, id="paths")
        with VerticalScroll(id="below", can_focus=False):
            yield Panel(id="strips")
            yield Panel(id="legend")

    def show(self, state: ConsoleState) -> None:
        """Bring everything up to date."""
        self.query_one("#verdict", Panel).show((stream.verdict(state),))
        result = state.probe.or_none()
        grid = self.query_one("#paths", Grid)
        grid.display = result is not None
        strips = self.query_one("#strips", Panel)
        if result is not None:
            grid.show(stream.rows(result))
            shown = stream.strips(result, max(30, self.size.width - 4))
            strips.show((*shown, (), *stream.remarks(result)))
        else:
            strips.show(())
        self.query_one("#legend", Panel).show(stream.LEGEND)

    def copied(self) -> str:
        """The verdict, and the table as text."""
        out = [joined(self.query_one("#verdict", Panel).lines)]
        out += [
            ", ".join(f"{column.title}: {cells[column.key].text.strip()}" for column in COLUMNS)
            for cells in self.query_one("#paths", Grid).shown.values()
        ]
        return "\n".join(out)
