"""Numbers, times and reasons as short words."""

import time
from typing import TypeVar

from kome_tui.reading import Reading

T = TypeVar("T")

STALE_S = 5.0
"""Readings older than this show their age."""


def age(seconds: float) -> str:
    """An age such as `12 s` or `3 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def age_if_old(reading: Reading[T], now: float) -> str | None:
    """`12 s ago` where the reading is old, None where it is fresh or was never taken."""
    seconds = reading.age_s(now)
    if reading.taken_at <= 0 or seconds <= STALE_S:
        return None
    return f"{age(seconds)} ago"


def milliseconds(value: float) -> str:
    """A duration such as `0.4 ms`, `320 ms` or `1.2 s`."""
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def size(count: int) -> str:
    """Bytes as `120 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def clock(at: float) -> str:
    """A time of day, in the operator's zone."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def counted(count: int, noun: str) -> str:
    """`1 node`, `3 nodes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: tuple[str, ...], at_most: int = 6) -> str:
    """`a, b and c`; the rest is counted."""
    if len(names) > at_most:
        return f"{', '.join(names[:at_most])} and {len(names) - at_most} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def excerpt(text: str, lines: int = 4, width: int = 70) -> str:
    """The first lines of a text, each cut, and how much is left out."""
    rows = text.split("\n")
    shown = [cut(row, width) for row in rows[:lines]]
    if len(rows) > lines:
        shown.append(f"… and {counted(len(rows) - lines, 'more line')}")
    return "\n".join(shown)


def cut(text: str, width: int) -> str:
    """At most `width` characters, an ellipsis where something is left out."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
