"""Triage: what broke, the evidence, and what to do now."""

from collections.abc import Iterable

from textual.containers import Container, VerticalScroll
from textual.widget import Widget

from kome_tui.state import ConsoleState
from kome_tui.triage.model import Finding
from kome_tui.ui.ink import joined, plain
from kome_tui.ui.keys import bindings
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
_TALL = 20
"""Lines; with fewer, none is left empty."""


class TriageScreen(KomeScreen):
    """Verdict, findings, and all of the finding under the cursor."""

    KEY = "triage"
    CSS_PATH = "triage.tcss"
    FILTER = "words of a finding"
    BINDINGS = bindings("triage")

    def compose_body(self) -> Iterable[Widget]:
        """Verdict, findings, detail."""
        yield Panel(id="verdict")
        with Container(id="split"):
            yield Grid(COLUMNS, id="findings")
            with VerticalScroll(id="detail-scroll"):
                yield Panel(id="detail")

    def show(self, state: ConsoleState) -> None:
        """Bring verdict, list and detail up to date."""
        self.set_class(self.size.height < _TALL, "-short")
        self.query_one("#verdict", Panel).show((triage.verdict(state),))
        rows = triage.rows(self._findings(state))
        grid = self.query_one("#findings", Grid)
        grid.display = bool(rows)
        grid.show(rows)
        self._show_detail(state)

    def copied(self) -> str:
        """The verdict, and the finding under the cursor."""
        verdict = joined(self.query_one("#verdict", Panel).lines)
        return f"{verdict}\n{joined(self.query_one('#detail', Panel).lines)}"

    def action_read_on(self) -> None:
        """Scroll the finding, from wherever the keys are."""
        self.query_one("#detail-scroll", VerticalScroll).scroll_page_down(animate=False)

    def action_read_back(self) -> None:
        """Scroll the finding up again."""
        self.query_one("#detail-scroll", VerticalScroll).scroll_page_up(animate=False)

    def on_data_table_row_highlighted(self) -> None:
        """Show the finding the cursor went to."""
        if self.state is not None:
            self._show_detail(self.state)

    def _show_detail(self, state: ConsoleState) -> None:
        finding = self._current(state)
        lines = triage.detail(state, finding) if finding else triage.none(state, self.filter_words)
        panel = self.query_one("#detail", Panel)
        if panel.lines and plain(panel.lines[0]) != plain(lines[0]):
            self.query_one("#detail-scroll", VerticalScroll).scroll_home(animate=False)
        panel.show(lines)

    def _findings(self, state: ConsoleState) -> tuple[Finding, ...]:
        return triage.matching(state.diagnosis.or_none(), self.filter_words)

    def _current(self, state: ConsoleState) -> Finding | None:
        findings = self._findings(state)
        wanted = self.query_one("#findings", Grid).current
        found = (one for one in findings if triage.key(one) == wanted)
        return next(found, findings[0] if findings else None)
