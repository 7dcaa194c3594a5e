"""The stream statistics and the verdict, over made-up arrivals (seeded, so always the same)."""

import random
from collections.abc import Callable, Sequence

import pytest

from kome_tui.signals.gaps import percentile, stream_stats
from kome_tui.signals.hops import verdict
from kome_tui.signals.readings import PathProbe, StreamStats

Arrivals = Callable[[random.Random], list[float]]
TOKENS = 96


def steady(every_ms: float, jitter_ms: float = 0.05) -> Arrivals:
    def arrivals(chance: random.Random) -> list[float]:
        return [every_ms * (at + 1) + abs(chance.gauss(0, jitter_ms)) for at in range(TOKENS)]

    return arrivals


def with_stalls(inner: Arrivals, silence_ms: float, count: int = 1) -> Arrivals:
    def arrivals(chance: random.Random) -> list[float]:
        stalls = sorted(chance.sample(range(4, TOKENS - 4), count))
        return [
            at_ms + silence_ms * sum(index >= stall for stall in stalls)
            for index, at_ms in enumerate(inner(chance))
        ]

    return arrivals


def in_bursts(size: int, every_ms: float, inside_ms: float = 0.03) -> Arrivals:
    """`size` tokens at once, as late as the last of them would have been."""

    def arrivals(chance: random.Random) -> list[float]:
        late: list[float] = []
        for at in range(TOKENS):
            last = min((at // size + 1) * size, TOKENS)
            late.append(last * every_ms + (at % size) * inside_ms * chance.random())
        return sorted(late)

    return arrivals


def whole(reads: int, apart_ms: float = 0.2) -> Arrivals:
    def arrivals(chance: random.Random) -> list[float]:
        return [2000 + apart_ms * (at * reads // TOKENS) for at in range(TOKENS)]

    return arrivals


UNBUFFERED = {
    "steady": steady(20),
    "slow": steady(200, 3),
    "fast": steady(1),
    "jitter": steady(20, 6),
    "much jitter": steady(40, 15),
    "stall": with_stalls(steady(20), 2000),
    "three stalls": with_stalls(steady(20), 1500, 3),
    "a long stall in a fast stream": with_stalls(steady(5), 10_000),
    "two coalesced": in_bursts(2, 20),
    "speculative": in_bursts(3, 20),
    "speculative, stalled": with_stalls(in_bursts(3, 10), 3000),
}
BUFFERED = {
    "clumps of 18": in_bursts(18, 20),
    "clumps of 18, slow": in_bursts(18, 100),
    "clumps of 18, fast": in_bursts(18, 1, 0.005),
    "clumps of 10": in_bursts(10, 20),
    "clumps over a second apart": in_bursts(24, 60),
    "clumps and a stall": with_stalls(in_bursts(18, 20), 3000),
    "gzip, one read": whole(1),
    "gzip, three reads": whole(3),
    "gzip, six reads 1 ms apart": whole(6, 1.0),
}


def stats_of(arrivals_ms: Sequence[float], tokens: int | None = None) -> StreamStats:
    return stream_stats([round(at * 1e6) for at in sorted(arrivals_ms)], tokens)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", UNBUFFERED)
def test_no_unbuffered_stream_is_called_buffered(kind: str, seed: int) -> None:
    stats = stats_of(UNBUFFERED[kind](random.Random(seed)))
    assert not stats.buffered, stats.burst


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", BUFFERED)
def test_no_buffered_stream_is_missed(kind: str, seed: int) -> None:
    stats = stats_of(BUFFERED[kind](random.Random(seed)))
    assert stats.buffered, stats.burst


def test_the_burst_statistic_has_the_values_of_the_record() -> None:
    chance = random.Random(1)
    assert stats_of(steady(20)(chance)).burst == 1.0
    assert stats_of(in_bursts(2, 20)(chance)).burst == 2.0
    assert stats_of(in_bursts(18, 20)(chance)).burst == 16.0  # 96 tokens in 6 clumps
    assert stats_of(whole(1)(chance)).burst == 96.0


@pytest.mark.parametrize(("silence_ms", "stalls"), [(900, 0), (1100, 1)])
def test_a_stall_is_a_gap_over_a_second(silence_ms: float, stalls: int) -> None:
    assert stats_of([10, 20, 30, 30 + silence_ms, 40 + silence_ms]).stalls == stalls


def test_in_a_slow_stream_a_stall_is_ten_medians() -> None:
    gaps = [300.0, 300.0, 300.0, 2900.0, 300.0]
    assert stats_of([sum(gaps[: at + 1]) for at in range(5)]).stalls == 0
    gaps[3] = 3100.0
    assert stats_of([sum(gaps[: at + 1]) for at in range(5)]).stalls == 1


def test_times_are_told_in_milliseconds() -> None:
    stats = stats_of([100, 110, 120, 150], tokens=7)
    assert (stats.ttft_ms, stats.chunks, stats.tokens) == (100.0, 4, 7)
    assert stats.tpot_ms == pytest.approx(50 / 6)
    assert (stats.gap_ms.p50, stats.gap_ms.max) == (10.0, 30.0)
    assert stats.arrivals_ns == (100_000_000, 110_000_000, 120_000_000, 150_000_000)


def test_nothing_measured_is_none_and_not_zero() -> None:
    none = stream_stats([], None, "connection refused")
    assert (none.ok, none.error, none.chunks, none.tokens) == (False, "connection refused", 0, 0)
    assert none.ttft_ms is none.tpot_ms is none.burst is none.gap_ms.p50 is none.gap_ms.max is None
    assert not none.buffered
    one = stats_of([7])
    assert (one.ttft_ms, one.tpot_ms, one.gap_ms.p99, one.burst) == (7.0, None, None, 1.0)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5.0], 99, 5.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.5),
        ([0.0, 10.0], 95, 9.5),
        ([float(at) for at in range(101)], 99, 99.0),
        ([], 50, None),
    ],
)
def test_percentiles_interpolate(
    values: list[float], percent: float, expected: float | None
) -> None:
    assert percentile(values, percent) == (expected and pytest.approx(expected))


def path(name: str, plain: Arrivals, gzip: Arrivals | None = None) -> PathProbe:
    chance = random.Random(7)
    return PathProbe(name, stats_of(plain(chance)), stats_of(gzip(chance)) if gzip else None)


def broken(name: str, error: str = "connection refused") -> PathProbe:
    return PathProbe(name, stream_stats([], None, error), None)


def later(inner: Arrivals, ms: float) -> Arrivals:
    return lambda chance: [at + ms for at in inner(chance)]


STEADY = steady(20)
CLUMPED = in_bursts(18, 20)
CHAIN = (0, 1, 2)


@pytest.mark.parametrize(
    ("paths", "depths", "buffering", "slow", "text"),
    [
        (
            [path("frontend", STEADY), path("okome", STEADY), path("gpu", STEADY)],
            *(CHAIN, None, None, "All 3 paths stream steadily."),
        ),
        (
            [path("frontend", CLUMPED), path("okome", STEADY), path("gpu", STEADY)],
            *(CHAIN, "frontend", None),
            "frontend delivers the stream in clumps of about 16 tokens, and okome behind it does"
            " not.",
        ),
        (
            [path("frontend", CLUMPED), path("okome", CLUMPED), path("gpu", STEADY)],
            *(CHAIN, "okome", None, None),
        ),
        (
            [path("frontend", CLUMPED), path("okome", CLUMPED), path("gpu", CLUMPED)],
            *(CHAIN, "gpu", None),
            "gpu delivers the stream in clumps of about 16 tokens, and nothing behind it was"
            " measured.",
        ),
        (
            [path("frontend", whole(1)), path("okome", in_bursts(8, 20)), path("gpu", STEADY)],
            *(CHAIN, "frontend", None, None),
        ),
        (
            [path("frontend", CLUMPED), path("okome", in_bursts(3, 20)), path("gpu", STEADY)],
            *(CHAIN, "frontend", None, None),
        ),
        (
            [path("frontend", STEADY, whole(1)), path("okome", STEADY, STEADY)],
            *((0, 1), "frontend", None),
            "frontend delivers the stream in one piece, but only to clients that offer gzip, and"
            " okome behind it does not.",
        ),
        (
            [path("frontend", STEADY, whole(1)), path("okome", STEADY, whole(1))],
            *((0, 1), "okome", None, None),
        ),
        (
            [path("frontend", CLUMPED), broken("okome"), path("gpu", STEADY)],
            *(CHAIN, "frontend", None),
            "frontend delivers the stream in clumps of about 16 tokens, and gpu behind it does"
            " not; okome failed: connection refused.",
        ),
        (
            [path("frontend", STEADY), path("node-03", CLUMPED), path("okome", STEADY)],
            *((0, 0, 1), "node-03", None, None),
        ),
        (
            [path("frontend", CLUMPED), path("node-03", CLUMPED), path("okome", STEADY)],
            *((0, 0, 1), "frontend", None, None),
        ),
        (
            [path("frontend", STEADY), path("okome", CLUMPED), path("gpu", STEADY)],
            *((1, 1, 2), "okome", None, None),
        ),
        (
            [path("frontend", later(STEADY, 300)), path("okome", STEADY)],
            *((0, 1), None, "frontend"),
            "frontend is slow: first token after 320 ms, and 20 at okome.",
        ),
        (
            [path("frontend", steady(100)), path("okome", steady(20))],
            *((0, 1), None, "frontend", None),
        ),
        (
            [path("frontend", later(STEADY, 40)), path("okome", STEADY)],
            *((0, 1), None, None, None),
        ),
        (
            [path("frontend", later(STEADY, 300)), path("okome", later(STEADY, 250))],
            *((0, 1), None, None, None),
        ),
        ([path("okome", CLUMPED)], (0,), "okome", None, None),
        ([path("okome", with_stalls(STEADY, 1500))], (0,), None, None, None),
        ([broken("okome")], (0,), None, None, "okome failed: connection refused."),
        ([], (), None, None, "Nothing was probed."),
    ],
)
def test_the_hop_that_adds_is_named(
    paths: list[PathProbe],
    depths: tuple[int, ...],
    buffering: str | None,
    slow: str | None,
    text: str | None,
) -> None:
    found = verdict(paths, depths)
    assert (found.buffering_hop, found.slow_hop) == (buffering, slow), found.text
    assert text is None or found.text == text


def test_without_depths_the_paths_are_one_chain() -> None:
    found = verdict([path("frontend", CLUMPED), path("okome", CLUMPED), path("gpu", STEADY)])
    assert found.buffering_hop == "okome"


def test_a_stall_is_told() -> None:
    found = verdict([path("okome", with_stalls(STEADY, 1500))])
    assert found.text == "okome stalled, 1.5 s at the longest."
