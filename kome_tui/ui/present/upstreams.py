"""The upstream panel: every service from every vantage point, and the page as a browser sees it."""

from kome_tui.reading import Missing, Reading
from kome_tui.signals.readings import Check, UpstreamState
from kome_tui.state import ConsoleState
from kome_tui.state.views import upstream_state
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.model import OPERATOR
from kome_tui.ui.ink import Line, Span, Tone, line, plain
from kome_tui.ui.present import words

STATE_TONES: dict[UpstreamState, Tone] = {
    "up": "good",
    "degraded": "warn",
    "down": "bad",
    "unknown": "dim",
}
_MARKS: dict[UpstreamState, str] = {"up": "●", "degraded": "◐", "down": "○", "unknown": "·"}
_NAME = 9
_STATE = 11


def way_around_url(state: ConsoleState) -> str:
    """The address of OKOME itself."""
    endpoint = state.topology.endpoint(UpstreamName.OKOME)
    text = str(endpoint)
    return "http://" + (text.removesuffix(":80") if endpoint.port == 80 else text)


def panel(state: ConsoleState, width: int, two_columns: bool) -> tuple[Line, ...]:
    """All upstreams and the three services, `width` characters wide."""
    entries = [_entry(state, name, two_columns) for name in UpstreamName]
    half = width // 2
    if two_columns:
        rows = (len(entries) + 1) // 2
        right = [*entries[rows:], ()][:rows]
        body = [
            (*_fitted(one, half - 2), Span("  "), *_fitted(two, width - half))
            for one, two in zip(entries[:rows], right, strict=True)
        ]
    else:
        body = [_fitted(one, width) for one in entries]
    head = line(Span("Upstreams", "strong"), Span(_legend(state, two_columns), "dim"))
    return (_fitted(head, width), *body, _fitted(services(state, width), width))


def troubles_from(state: ConsoleState, node: str) -> tuple[str, ...]:
    """What is wrong as seen from a node, and how that looks from here."""
    out = []
    for name, views in state.upstreams.items():
        there = views[node].or_none() if node in views else None
        if there is None or there.state not in ("down", "degraded"):
            continue
        here = views[OPERATOR].or_none() if OPERATOR in views else None
        other = f", {here.state} from your machine" if here is not None else ""
        out.append(f"{name.value} {there.state} from here{_because(there.reason)}{other}")
    return tuple(out)


def services(state: ConsoleState, width: int) -> Line:
    """The page, the API and the way around, one line; reasons as far as there is room."""
    for reason_length in (60, 30, 16):
        shown = _services(state, reason_length)
        if len(plain(shown)) <= width:
            return shown
    return _services(state, 0)


def _services(state: ConsoleState, reason_length: int) -> Line:
    out: list[Span] = []
    named = (("Page", state.page), ("API", state.api), ("Way around", state.way_around))
    for label, reading in named:
        out += [Span(f"{label} ", "strong"), *_check(reading, state.now, reason_length)]
        out.append(Span("   "))
    return tuple(out[:-1])


def _legend(state: ConsoleState, two_columns: bool) -> str:
    if two_columns:
        return f"  seen from {state.topology.frontend} / from here"
    return f"  seen from the frontend ({state.topology.frontend}) and from here"


def _entry(state: ConsoleState, name: UpstreamName, short: bool) -> Line:
    found = upstream_state(state, name)
    tone = STATE_TONES[found]
    head = (Span(f"{name.value:<{_NAME}}"), Span(f"{_MARKS[found]} {found:<{_STATE - 2}}", tone))
    seen = state.upstreams.get(name, {})
    here = seen.get(OPERATOR)
    there = seen.get(state.topology.frontend)
    if short:
        return (*head, *_short_views(there, here))
    return (
        *head,
        Span("frontend ", "dim"),
        *_padded(_check(there, state.now), 34),
        Span("  here ", "dim"),
        *_check(here, state.now),
    )


def _short_views(there: Reading[Check] | None, here: Reading[Check] | None) -> Line:
    looks = [reading.or_none() if reading is not None else None for reading in (there, here)]
    for look in looks:
        if look is not None and look.state in ("down", "degraded") and look.reason:
            # First what would contradict it: "down" alone reads as down for everybody.
            differs = look is looks[0] and looks[1] is not None and looks[1].state != look.state
            head = Span(f"here {looks[1].state}; " if differs and looks[1] else "", "warn")
            return (head, Span(look.reason, STATE_TONES[look.state]))
    return (Span(f"{_latency(there)} / {_latency(here)}", "dim"),)


def _latency(reading: Reading[Check] | None) -> str:
    check = reading.or_none() if reading else None
    if check is None or check.latency_ms is None:
        return "–"
    return words.milliseconds(check.latency_ms)


def _check(reading: Reading[Check] | None, now: float, reason_length: int = 400) -> Line:
    if reading is None:
        return (Span("not looked at from there", "dim"),)
    if isinstance(reading.value, Missing):
        return (Span(words.cut(reading.value.reason, reason_length or 16), "dim"),)
    check = reading.value
    out = [Span(check.state, STATE_TONES[check.state])]
    if check.latency_ms is not None:
        out.append(Span(f" {words.milliseconds(check.latency_ms)}"))
    if check.reason and reason_length:
        out.append(Span(f": {words.cut(check.reason, reason_length)}"))
    ago = words.age_if_old(reading, now)
    if ago:
        out.append(Span(f" ({ago if reason_length else ago.removesuffix(' ago')})", "warn"))
    return tuple(out)


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _padded(spans: Line, width: int) -> Line:
    used = sum(len(span.text) for span in spans)
    return _fitted(spans, width) if used > width else (*spans, Span(" " * (width - used)))


def _fitted(spans: Line, width: int) -> Line:
    """Exactly `width` characters: cut with an ellipsis, or filled with spaces."""
    out: list[Span] = []
    left = width
    for span in spans:
        if len(span.text) > left:
            out.append(Span(words.cut(span.text, left), span.tone))
            return tuple(out)
        out.append(span)
        left -= len(span.text)
    return (*out, Span(" " * left))
