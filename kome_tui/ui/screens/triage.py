"""Triage: what broke, the evidence, and what to do now."""

from collections.abc import Iterable

from textual.containers import Container, VerticalScroll
from textual.widget import Widget

from kome_tui.state import ConsoleState
from kome_tui.triage.model import Finding
from kome_tui.ui.ink import joined
from kome_tui.ui.present import triage
from kome_tui.ui.screens.base import KomeScreen
from kome_tui.ui.widgets.grid import Column, Grid
from kome_tui.ui.widgets.panel import Panel

COLUMNS = (
    Column("severity", "Severity", 8, 0),
    Column("subject", "Where", 8, 1, grows_to=20),
    Column("code", "Code", 24, 3),
    Column("title", "What", 30, 2, stretch=True),
)


class TriageScreen(KomeScreen):
    """Verdict, findings, and all of the finding under the cursor."""

    KEY = "triage"
    CSS_PATH = "triage.tcss"

    def compose_body(self) -> Iterable[Widget]:
        """Verdict, findings, detail."""
        yield Panel(id="verdict")
        with Container(id="split"):
            yield Grid(COLUMNS, id="findings")
            with VerticalScroll(id="detail-scroll"):
                yield Panel(id="detail")

    def show(self, state: ConsoleState) -> None:
        """Bring verdict, list and detail up to date."""
        self.query_one("#verdict", Panel).show((triage.verdict(state),))
        diagnosis = state.diagnosis.or_none()
        rows = triage.rows(diagnosis) if diagnosis else {}
        grid = self.query_one("#findings", Grid)
        grid.display = bool(rows)
        grid.show(rows)
        self._show_detail(state)

    def copied(self) -> str:
        """The verdict, and the finding under the cursor."""
        verdict = joined(self.query_one("#verdict", Panel).lines)
        return f"{verdict}\n{joined(self.query_one('#detail', Panel).lines)}"

    def on_data_table_row_highlighted(self) -> None:
        """Show the finding the cursor went to."""
        if self.state is not None:
            self._show_detail(self.state)

    def _show_detail(self, state: ConsoleState) -> None:
        finding = self._current(state)
        panel = self.query_one("#detail", Panel)
        panel.show(triage.detail(state, finding) if finding else (triage.way_around(state),))

    def _current(self, state: ConsoleState) -> Finding | None:
        diagnosis = state.diagnosis.or_none()
        if diagnosis is None or not diagnosis.findings:
            return None
        wanted = self.query_one("#findings", Grid).current
        found = (one for one in diagnosis.findings if triage.key(one) == wanted)
        return next(found, diagnosis.findings[0])
