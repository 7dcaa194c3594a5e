"""A dialog that asks before something unusual, and takes every key while it is open.

The safe answer has the focus, and no letter says yes: a held or pasted key cannot.
"""

from collections.abc import Awaitable, Callable

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button

from kome_tui.errors import KomeError
from kome_tui.text import clean
from kome_tui.ui.ink import Line, Span, line
from kome_tui.ui.widgets.line_view import LineView
from kome_tui.ui.widgets.panel import Panel

DiffReader = Callable[[], Awaitable[tuple[Line, ...]]]


class Question(ModalScreen[bool]):
    """Answers True for the named action, False for anything else."""

    CSS_PATH = "question.tcss"
    BINDINGS = [  # noqa: RUF012 - Textual's own form
        Binding("escape", "no", "Leave", show=False),
        Binding("left,right,up,down", "app.focus_next", "Other button", show=False),
    ]

    def __init__(
        self,
        title: str,
        text: tuple[Line, ...],
        yes: str,
        no: str = "Leave as it is",
        read_diff: DiffReader | None = None,
    ) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._yes = yes
        self._no = no
        self._read_diff = read_diff
        self._answered = False

    def compose(self) -> ComposeResult:
        """Title, text, what the nodes are asked for (a diff, the ways back), buttons."""
        with Vertical(id="question", classes="-diff" if self._read_diff else None):
            yield Panel(id="title")
            yield Panel(id="text")
            if self._read_diff is not None:
                yield LineView(id="diff")
            with Horizontal(id="buttons"):
                yield Button(Content(self._no), id="no", compact=True)
                if self._yes:
                    yield Button(Content(self._yes), id="yes", variant="warning", compact=True)

    def on_mount(self) -> None:
        """Say it, put the focus on the safe answer, and start asking the nodes."""
        self.query_one("#title", Panel).show((line(Span(self._title, "strong")),))
        self.query_one("#text", Panel).show(self._text)
        self.query_one("#no", Button).focus()
        if self._read_diff is not None:
            self.run_worker(self._load(self._read_diff), exit_on_error=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer."""
        self.answer(event.button.id == "yes")

    def action_no(self) -> None:
        """Change nothing."""
        self.answer(False)

    def answer(self, yes: bool) -> None:
        """Close with this answer, unless there is one already."""
        if not self._answered:  # keys that were typed ahead may press twice
            self._answered = True
            self.dismiss(yes)

    async def _load(self, read_diff: DiffReader) -> None:
        view = self.query_one("#diff", LineView)
        view.show((line(Span("Asking the nodes…", "dim")),))
        try:
            view.show(await read_diff())
        except TimeoutError:
            view.show((line(Span("The nodes did not answer in time.", "warn")),))
        except KomeError as error:
            view.show((line(Span(clean(str(error).replace("\n", "; ")), "warn")),))
