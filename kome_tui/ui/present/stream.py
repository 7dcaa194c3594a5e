"""The stream screen: one row per path, a strip of its arrivals, and what is no problem."""

from collections.abc import Sequence

from kome_tui.reading import Missing
from kome_tui.signals.readings import ProbeResult, StreamStats
from kome_tui.state import ConsoleState
from kome_tui.ui.ink import Cell, Line, Span, line, missing
from kome_tui.ui.present import words

_LEVELS = " ▁▂▃▄▅▆▇█"
_LEAST_TOP = 4
"""So that a steady stream of one token a time is a low line, not a wall."""

LEGEND: tuple[Line, ...] = (
    line(
        Span("Not a problem", "strong"), Span(": a longer first token on a longer prompt;", "dim")
    ),
    line(Span("one high gap with stalls 0; a burst up to 3 (speculative decoding);", "dim")),
    line(Span("a later hop that clumps no more than the one before it.", "dim")),
    line(
        Span("A problem", "strong"),
        Span(": a burst from 6 on (buffered), above all where only gzip has it.", "dim"),
    ),
)


def rows(result: ProbeResult) -> dict[str, dict[str, Cell]]:
    """A row for each path, and one below it for the same path with gzip offered."""
    out: dict[str, dict[str, Cell]] = {}
    for probe in result.paths:
        out[probe.path] = _row(probe.path, probe.plain)
        if probe.gzip is not None:
            out[f"{probe.path} gzip"] = _row("  with gzip", probe.gzip)
    return out


def word(stats: StreamStats) -> Cell:
    """How the stream was, in one word."""
    if not stats.ok:
        return Cell("failed", "bad", stats.error)
    if stats.buffered:
        return Cell("clumped", "bad")
    return Cell("stalled", "warn") if stats.stalls else Cell("steady", "good")


def verdict(state: ConsoleState) -> Line:
    """The verdict's own words, or why there is none."""
    running = (Span("Measuring… ", "accent"),) if state.probe_running else ()
    value = state.probe.value
    if isinstance(value, Missing):
        why = "" if state.probe_running else f"{_sentence(value.reason)} Press p to measure."
        return (*running, Span(why, "dim"))
    bad = value.verdict.buffering_hop or value.verdict.slow_hop
    ago = words.age_if_old(state.probe, state.now)
    age = (Span(f"  ({ago})", "dim"),) if ago else ()
    return (*running, Span(value.verdict.text, "warn" if bad else "strong"), *age)


def strips(result: ProbeResult, width: int) -> tuple[Line, ...]:
    """Arrivals of every path over one common time axis, `width` characters in all."""
    label = max((len(probe.path) for probe in result.paths), default=0) + 2
    bins = max(8, width - label)
    last = max((_last(probe.plain) for probe in result.paths), default=0)
    if not last:
        return (line(Span("No token arrived on any path.", "dim")),)
    most = max(probe.plain.chunks for probe in result.paths)
    bins = max(8, min(bins, most))  # narrower bins would tear a steady stream into dashes
    counts = {probe.path: binned(probe.plain.arrivals_ns, bins, last) for probe in result.paths}
    top = max(_LEAST_TOP, *(max(one) for one in counts.values()))
    body = [
        (Span(f"{path:<{label}}"), Span(strip(one, top), "accent")) for path, one in counts.items()
    ]
    end = words.milliseconds(last / 1e6)
    axis = (Span(" " * label), Span("0" + end.rjust(bins - 1), "dim"))
    return (
        line(Span("Arrivals", "strong"), Span("  tokens over time, without gzip", "dim")),
        *body,
        axis,
    )


def binned(arrivals_ns: Sequence[int], bins: int, last_ns: int) -> list[int]:
    """How many chunks arrived in each of `bins` equal times up to `last_ns`."""
    counts = [0] * bins
    for at in arrivals_ns:
        counts[min(bins - 1, at * bins // (last_ns + 1))] += 1
    return counts


def strip(counts: Sequence[int], top: int) -> str:
    """Bars for counts, `top` as a full one; the smallest count still shows."""
    return "".join(_LEVELS[min(8, -(-count * 8 // top))] for count in counts)


def remarks(result: ProbeResult) -> tuple[Line, ...]:
    """Errors of single paths, in full."""
    return tuple(
        line(Span(f"{probe.path}{label}: ", "strong"), Span(stats.error, "bad"))
        for probe in result.paths
        for label, stats in (("", probe.plain), (" with gzip", probe.gzip))
        if stats is not None and stats.error
    )


def _row(label: str, stats: StreamStats) -> dict[str, Cell]:
    why = stats.error or "too few tokens to tell"
    gaps = stats.gap_ms
    return {
        "path": Cell(label, "dim" if label.startswith(" ") else "strong"),
        "word": word(stats),
        "ttft": _ms(stats.ttft_ms, why),
        "tokens": Cell(str(stats.tokens)) if stats.tokens else missing(why),
        "p50": _ms(gaps.p50, why),
        "p95": _ms(gaps.p95, why),
        "p99": _ms(gaps.p99, why),
        "max": _ms(gaps.max, why),
        "tpot": _ms(stats.tpot_ms, why),
        "stalls": _stalls(stats, why),
        "burst": missing(why) if stats.burst is None else Cell(f"{stats.burst:.1f}"),
        "buffered": _buffered(stats, why),
    }


def _stalls(stats: StreamStats, why: str) -> Cell:
    if stats.stalls:
        return Cell(str(stats.stalls), "warn")
    return Cell("0", "dim") if stats.ok else missing(why)


def _buffered(stats: StreamStats, why: str) -> Cell:
    if stats.buffered:
        return Cell("yes", "bad")
    return Cell("no", "dim") if stats.ok else missing(why)


def _ms(value: float | None, why: str) -> Cell:
    return missing(why) if value is None else Cell(words.milliseconds(value))


def _last(stats: StreamStats) -> int:
    return max(stats.arrivals_ns, default=0)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
