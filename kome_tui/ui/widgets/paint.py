"""From tones to Textual and Rich. The only place where outside text becomes something drawable.

Text(...) and Content(...) take the words literally; a str handed to a widget would be parsed.
"""

from collections.abc import Iterable

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.content import Content
from textual.strip import Strip
from textual.style import Style as ContentStyle

from kome_tui.ui.ink import Cell, Line
from kome_tui.ui.theme import TONES

_CONTENT_TONES = {tone: ContentStyle.from_rich_style(style) for tone, style in TONES.items()}


def painted(cell: Cell, right: bool = False) -> Text:
    """A table cell."""
    return Text(
        cell.text,
        style=TONES[cell.tone],
        justify="right" if right else "left",
        no_wrap=True,
        overflow="ellipsis",
        end="",
    )


def content(spans: Line) -> Content:
    """A line for a static widget."""
    return Content.assemble(*((span.text, _CONTENT_TONES[span.tone]) for span in spans))


def page(lines: Iterable[Line]) -> Content:
    """Several lines for a static widget."""
    return Content("\n").join([content(one) for one in lines])


def strip(spans: Line, base: Style) -> Strip:
    """A line for a widget that renders line by line."""
    return Strip([Segment(span.text, base + TONES[span.tone]) for span in spans])
