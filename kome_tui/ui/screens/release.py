"""The release: wanted against live, the plan's diff, and how the last push went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from textual.containers import Container, Vertical
from textual.widget import Widget

from kome_tui.errors import KomeError
from kome_tui.state import ConsoleState
from kome_tui.text import clean
from kome_tui.ui.ink import Line, Span, joined, line, plain
from kome_tui.ui.keys import bindings
from kome_tui.ui.messages import MarkWanted
from kome_tui.ui.present import fleet, release
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.widgets.grid import Column, Grid
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.panel import Panel

if TYPE_CHECKING:
    from kome_tui.release.plan import NodePlan

    PlanReader = Callable[[], Awaitable[Mapping[str, NodePlan]]]

COLUMNS = (
    Column("mark", "", 1, 0),
    Column("node", "Node", 8, 0, stretch=True, grows_to=20),
    Column("release", "Release", 8, 1),
    Column("live", "Live", 12, 2),
    Column("wanted", "Wanted", 12, 4),
    Column("push", "Push", 11, 3),
    Column("took", "Took", 6, 5, right=True),
)


class ReleaseScreen(KomeScreen):
    """Node table, last push, and the diff of the node under the cursor."""

    KEY = "release"
    CSS_PATH = "release.tcss"
    FILTER = "name or role"
    BINDINGS = bindings("release")

    def __init__(self, read_plan: PlanReader) -> None:
        super().__init__()
        self._read_plan = read_plan
        self._plans: Mapping[str, NodePlan] = {}
        self._said: Line | None = None
        """Why there is no plan, or that it is being read."""
        self._ids: tuple[object, ...] = ()
        """The live and wanted ids that the plans were read for."""

    def compose_body(self) -> Iterable[Widget]:
        """Table and last push; the diff beside or below them."""
        with Container(id="split"):
            with Vertical(id="nodes-and-push"):
                yield Grid(COLUMNS, id="nodes")
                yield Panel(id="last-push")
            yield LineView(id="diff")

    def show(self, state: ConsoleState) -> None:
        """Bring table, push and diff up to date; read the plan where ids have changed."""
        self.set_class(self.size.width >= 130, "-wide")
        grid = self.query_one("#nodes", Grid)
        grid.show(
            {
                name: release.row(state, state.nodes[name], name in self.marked)
                for name in fleet.nodes_matching(state, self.filter_words)
            }
        )
        self.query_one("#last-push", Panel).show(release.last_push(state))
        if not state.pushing and release.ids(state) != self._ids:
            self._ids = release.ids(state)
            self.action_read_plan()
        self._show_diff()

    def copied(self) -> str:
        """The diff in sight, and the last push."""
        push = joined(self.query_one("#last-push", Panel).lines)
        return f"{push}\n{joined(self.query_one('#diff', LineView).lines)}"

    def out_of_sight(self, state: ConsoleState) -> int:
        """Marked nodes that the filter hides."""
        return fleet.hidden(state, self.marked, self.filter_words)

    def action_mark(self) -> None:
        """Mark the node under the cursor, or take its mark away."""
        node = self.query_one("#nodes", Grid).current
        if node is not None:
            self.post_message(MarkWanted(node))

    def action_read_plan(self) -> None:
        """Ask the nodes what a push would change."""
        self.run_worker(self._load(), group="plan", exclusive=True, exit_on_error=False)

    def on_data_table_row_highlighted(self) -> None:
        """Show the diff of the node the cursor went to."""
        self._show_diff()

    def on_data_table_row_selected(self) -> None:
        """Enter on a row reads the plan again."""
        self.action_read_plan()

    async def _load(self) -> None:
        self._said = line(Span("Asking the nodes what a push would change…", "dim"))
        self._show_diff()
        try:
            self._plans = await self._read_plan()
            self._said = None
        except TimeoutError:
            self._said = line(Span("The nodes did not answer in time; press enter to ask again."))
        except KomeError as error:
            self._said = line(Span("No plan: ", "warn"), clean(str(error).replace("\n", "; ")))
        self._show_diff()

    def _show_diff(self) -> None:
        node = self.query_one("#nodes", Grid).current
        view = self.query_one("#diff", LineView)
        if node is None:
            view.show(fleet.no_match(self.filter_words))
            return
        shown = release.diff(node, self._plans.get(node))
        if self._said is not None:
            shown = (self._said, *(shown if node in self._plans else ()))
        if view.lines and shown and plain(view.lines[0]) != plain(shown[0]):
            view.scroll_home(animate=False)
        view.show(shown)
