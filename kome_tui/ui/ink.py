"""Text with a tone, before any toolkit sees it.

What is shown is made of these values, never of markup: a `[` from a log line stays a `[`. A tone
only adds to words that already say the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "strong", "dim", "good", "warn", "bad", "removed", "accent"]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line."""

    text: str
    tone: Tone = "plain"


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table. `why` is the full reason where the text is only a dash."""

    text: str
    tone: Tone = "plain"
    why: str | None = None


def line(*parts: str | Span) -> Line:
    """A line of spans; bare strings are plain."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def plain(spans: Line) -> str:
    """The words of a line without its tones."""
    return "".join(span.text for span in spans)


def joined(lines: Iterable[Line]) -> str:
    """The words of several lines."""
    return "\n".join(plain(one) for one in lines)


def missing(reason: str) -> Cell:
    """A dash that knows its reason."""
    return Cell("–", "dim", reason)
