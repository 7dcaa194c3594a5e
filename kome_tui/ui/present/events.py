"""The events screen: what happened, and the requests as they come in."""

from kome_tui.signals.readings import CACHE_HITS, CACHE_MISSES, Request
from kome_tui.state import ConsoleState, LogEntry
from kome_tui.ui.ink import Line, Span, Tone, plain
from kome_tui.ui.present import words

LEVEL_TONES: dict[str, Tone] = {"info": "dim", "warning": "warn", "error": "bad"}
REQUESTS_SHOWN = 200


def log(entries: tuple[LogEntry, ...], wanted: str) -> tuple[Line, ...]:
    """The entries that contain every word, newest last."""
    return tuple(one for one in map(_entry, entries) if _matches(one, wanted))


def requests(state: ConsoleState, wanted: str) -> tuple[Line, ...]:
    """Requests of all nodes, merged by time, newest last."""
    seen = [
        request
        for node in state.nodes.values()
        if (traffic := node.traffic.or_none()) is not None
        for request in traffic.recent
    ]
    seen.sort(key=lambda request: request.at)
    lines = (_request(request) for request in seen)
    return tuple(one for one in lines if _matches(one, wanted))[-REQUESTS_SHOWN:]


def nothing(wanted: str, what: str) -> tuple[Line, ...]:
    """Said where there is no line."""
    text = f"No {what} contains “{wanted}”." if wanted else f"No {what} yet."
    return ((Span(text, "dim"),),)


def _entry(entry: LogEntry) -> Line:
    return (
        Span(f"{words.clock(entry.at)}  ", "dim"),
        Span(f"{entry.level:<8} ", LEVEL_TONES[entry.level]),
        Span(f"{words.cut(entry.subject, 14):<14} ", "strong"),
        Span(entry.text),
    )


def _request(request: Request) -> Line:
    bad = request.status >= 500
    cache: Tone = "dim"
    if request.cache in CACHE_HITS:
        cache = "good"
    elif request.cache in CACHE_MISSES:
        cache = "accent"
    return (
        Span(f"{words.clock(request.at)}  ", "dim"),
        Span(f"{words.cut(request.node, 10):<10} ", "strong"),
        Span(f"{request.status} ", "bad" if bad else "plain"),
        Span(f"{words.cut(request.cache, 8):<8} ", cache),
        Span(f"{_took(request.seconds):>8}  ", "dim"),
        Span(f"{words.cut(request.method, 7)} {request.path}"),
        Span(f"  {request.client}", "dim"),
    )


def _took(seconds: float) -> str:
    """nginx logs whole milliseconds: its 0.000 is not zero."""
    return words.milliseconds(seconds * 1000) if seconds >= 0.001 else "< 1 ms"


def _matches(one: Line, wanted: str) -> bool:
    text = plain(one).lower()
    return all(part in text for part in wanted.lower().split())
