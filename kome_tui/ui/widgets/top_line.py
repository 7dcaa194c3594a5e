"""The two lines at the top: whose fleet this is, in which mode, and which screen is open."""

from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from kome_tui.text import clean
from kome_tui.ui.ink import Line, Span, plain
from kome_tui.ui.keys import ALL_SCREENS
from kome_tui.ui.widgets.paint import content

_LEAST_SOURCE = 12


class TopLine(Static):
    """Fleet, file, marks (LAB, READ-ONLY, FROZEN), tabs and the verdict."""

    def __init__(self, screen_name: str) -> None:
        super().__init__("", markup=False)
        self._screen_name = screen_name
        self._said: tuple[object, ...] = ()
        self.words = ""
        """What the two lines say."""

    def show(self, fleet: str, source: str, marks: tuple[str, ...], verdict: Span) -> None:
        """Show the fleet's name and file, the marks, and the verdict."""
        said = (fleet, source, marks, verdict, self.size.width)
        if said == self._said or not self.size.width:
            return
        self._said = said
        width = self.size.width
        badges = " ".join(f"[{mark}]" for mark in marks)
        room = max(_LEAST_SOURCE, width - len(fleet) - len(badges) - 10)
        left = (
            Span(" KOME ", "accent"),
            Span(fleet, "strong"),
            Span("  " + _tail(clean(source), room), "dim"),
        )
        first = _spread(left, (Span(badges, "warn"), Span(" ")), width)
        tabs, tab_words = _tabs(self._screen_name)
        if len(tab_words) + len(verdict.text) + 2 > width:
            tabs, tab_words = _tabs(self._screen_name, short=True)
        room = width - len(tab_words) - 2
        verdict = Span(_head(verdict.text, room), verdict.tone)
        rest = max(1, room - len(verdict.text) + 1)
        shown = content((Span(" " * rest), verdict, Span(" ")))
        self.words = f"{plain(first)}\n{tab_words}{' ' * rest}{verdict.text}"
        self.update(Content("\n").join([content(first), tabs + shown]))


def _tabs(current: str, short: bool = False) -> tuple[Content, str]:
    """The screens by name; `short`: all but the current one by their key alone."""
    parts: list[Content] = []
    for number, name in enumerate(ALL_SCREENS, 1):
        label = f" {number} " if short and name != current else f" {number} {name.capitalize()} "
        style = Style(reverse=True, bold=True) if name == current else Style()
        click = Style.from_meta({"@click": f"app.go('{name}')"})
        parts.append(Content.styled(label, style + click))
    whole = Content("").join(parts)
    return whole, whole.plain


def _spread(left: Line, right: Line, width: int) -> Line:
    gap = width - len(plain(left)) - len(plain(right))
    return (*left, Span(" " * max(1, gap)), *right)


def _head(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _tail(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
