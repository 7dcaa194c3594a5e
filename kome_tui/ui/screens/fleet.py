"""The fleet: every node in one table, every upstream below it."""

from collections.abc import Iterable

from textual.containers import Vertical
from textual.widget import Widget

from kome_tui.state import ConsoleState
from kome_tui.ui.ink import Line, joined
from kome_tui.ui.keys import bindings
from kome_tui.ui.messages import MarkWanted
from kome_tui.ui.present import fleet, upstreams
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.widgets.grid import Column, Grid
from kome_tui.ui.widgets.panel import Panel

COLUMNS = (
    Column("mark", "", 1, 0),
    Column("node", "Node", 8, 0, stretch=True, grows_to=20),
    Column("role", "Role", 15, 11),
    Column("ssh", "SSH", 11, 1),
    Column("nginx", "nginx", 7, 2),
    Column("release", "Release", 8, 3),
    Column("live", "Live", 12, 12),
    Column("wanted", "Wanted", 12, 13),
    Column("hit", "Hits, 1 min", 12, 4, right=True),
    Column("age", "Age", 6, 10, right=True),
    Column("rps", "Req/s", 5, 6, right=True),
    Column("5xx", "5xx, 15 min", 11, 8, right=True),
    Column("conn", "Conn", 5, 9, right=True),
    Column("progress", "Push", 11, 5),
)
_TALL = 28
_WIDE = 110


class FleetScreen(KomeScreen):
    """Node table, detail of the row under the cursor, upstreams."""

    KEY = "fleet"
    CSS_PATH = "fleet.tcss"
    FILTER = "name or role"
    BINDINGS = bindings("fleet")

    def compose_body(self) -> Iterable[Widget]:
        """Table, detail, upstreams."""
        yield Grid(COLUMNS, id="nodes")
        with Vertical(id="below"):
            yield Panel(id="detail")
            yield Panel(id="upstreams")

    def show(self, state: ConsoleState) -> None:
        """Bring the table and the panels up to date."""
        names = fleet.nodes_matching(state, self.filter_words)
        grid = self.query_one("#nodes", Grid)
        grid.show(
            {name: fleet.row(state.nodes[name], name in self.marked, state.now) for name in names}
        )
        self._show_detail(state)
        width = max(40, self.size.width - 2)
        short = self.size.height < _TALL or self.size.width < _WIDE
        self.query_one("#upstreams", Panel).show(upstreams.panel(state, width, short))

    def copied(self) -> str:
        """The row under the cursor, with its detail."""
        grid = self.query_one("#nodes", Grid)
        node = grid.current
        if node is None or self.state is None:
            return ""
        cells = fleet.row(self.state.nodes[node], False, self.state.now)
        told = [f"{column.title}: {cells[column.key].text}" for column in COLUMNS[1:]]
        return ", ".join(told) + "\n" + joined(self._detail(self.state, node))

    def out_of_sight(self, state: ConsoleState) -> int:
        """Marked nodes that the filter hides."""
        return fleet.hidden(state, self.marked, self.filter_words)

    def action_mark(self) -> None:
        """Mark the node under the cursor, or take its mark away."""
        node = self.query_one("#nodes", Grid).current
        if node is not None:
            self.post_message(MarkWanted(node))

    def on_data_table_row_highlighted(self) -> None:
        """Explain the row the cursor went to."""
        if self.state is not None:
            self._show_detail(self.state)

    def _show_detail(self, state: ConsoleState) -> None:
        node = self.query_one("#nodes", Grid).current
        lines = self._detail(state, node) if node else fleet.no_match(self.filter_words)
        self.query_one("#detail", Panel).show(lines)

    def _detail(self, state: ConsoleState, node: str) -> tuple[Line, ...]:
        seen = upstreams.troubles_from(state, node)
        return fleet.detail(state.nodes[node], state.now, seen)
