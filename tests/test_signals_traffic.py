"""Counting access logs: exact, by the right clock, in bounded memory."""

import random
import tracemalloc

import pytest

from kome_tui.nginx.logformat import parse_line
from kome_tui.signals.readings import HitCounts, Traffic
from kome_tui.signals.traffic import TAIL_LIMIT, TrafficWindow

NOW = 1_760_000_000.0


def line(
    cache: str = "HIT",
    uri: str = "/assets/a.js",
    status: int = 200,
    at: float = NOW,
    agent: str = "curl",
) -> bytes:
    columns = [
        *(f"{at:.3f}", "node-01", cache, str(status), "0.004", "0.003", "127.0.0.1:8000", "512"),
        *("abc123", "GET", "127.0.0.9", uri, agent),
    ]
    raw = ("\t".join(columns) + "\n").encode()
    assert parse_line(raw) is not None
    return raw


def counted(*lines: bytes, at: float = NOW) -> Traffic:
    window = TrafficWindow("node-01")
    window.feed(b"".join(lines), at)
    return window.traffic(at)


def counts(found: HitCounts) -> tuple[int, int, int]:
    return found.hits, found.misses, found.other


def test_every_cache_status_is_counted_on_its_side() -> None:
    hits = ("HIT", "STALE", "UPDATING", "REVALIDATED")
    misses = ("MISS", "EXPIRED")
    other = ("-", "BYPASS", "NONE", "", "hit", "[/red]")
    found = counted(*(line(status) for status in (*hits, *misses, *other)))
    assert counts(found.last_minute) == (4, 2, 6)
    assert found.last_minute.rate == pytest.approx(4 / 6)
    assert (found.last_minute.window_s, found.last_quarter.window_s) == (60, 900)
    assert found.since_start.window_s == 0


def test_without_a_cacheable_request_there_is_no_rate() -> None:
    assert counted(line("-")).last_minute.rate is None
    empty = counted()
    assert counts(empty.since_start) == (0, 0, 0)
    assert empty.newest_line_at is None


def test_live_lines_count_at_their_arrival_whatever_the_nodes_clock_says() -> None:
    window = TrafficWindow("node-01")
    window.feed(line(at=7.0) + line("MISS", at=NOW * 2), NOW)
    assert counts(window.traffic(NOW).last_minute) == (1, 1, 0)
    assert counts(window.traffic(NOW + 59).last_minute) == (1, 1, 0)
    assert counts(window.traffic(NOW + 60).last_minute) == (0, 0, 0)
    assert counts(window.traffic(NOW + 899).last_quarter) == (1, 1, 0)
    assert counts(window.traffic(NOW + 900).last_quarter) == (0, 0, 0)
    assert counts(window.traffic(NOW + 9000).since_start) == (1, 1, 0)


def test_a_backlog_counts_by_its_own_times() -> None:
    window = TrafficWindow("node-01")
    ages = (0, 59, 61, 899, 901, 90_000, -50)
    window.feed(b"".join(line(at=NOW - age) for age in ages), NOW, backlog=True)
    found = window.traffic(NOW)
    assert found.last_minute.hits == 3  # the one from the future counts as now
    assert found.last_quarter.hits == 5
    assert found.since_start.hits == 7
    assert found.newest_line_at == NOW + 50


@pytest.mark.parametrize("seed", range(10))
def test_lines_torn_anywhere_count_once(seed: int) -> None:
    chance = random.Random(seed)
    log = b"".join(line(chance.choice(("HIT", "MISS", "-"))) for _ in range(200))
    window = TrafficWindow("node-01")
    at = 0
    while at < len(log):
        size = chance.choice((1, 7, 300, 5000))
        window.feed(log[at : at + size], NOW)
        at += size
    window.feed(log[:40], NOW)
    found = window.traffic(NOW)
    assert counts(found.since_start) == tuple(
        log.count(b"\t%b\t200" % status) for status in (b"HIT", b"MISS", b"-")
    )
    assert window.unreadable == 0


def test_a_gap_drops_the_torn_tail() -> None:
    window = TrafficWindow("node-01")
    window.feed(line()[:30], NOW)
    window.cut()
    window.feed(line("MISS"), NOW)
    assert counts(window.traffic(NOW).since_start) == (0, 1, 0)
    assert window.unreadable == 0


def test_forged_and_foreign_lines_do_not_count_as_hits() -> None:
    forged = line("MISS", uri="/a cache=HIT\\x09HIT", agent="HIT\\x09200")
    window = TrafficWindow("node-01")
    window.feed(forged + b"\n" + b"HIT\t200\n" + b"\xff\xfe\x00\n" + b'1.2.3.4 - - "GET"\n', NOW)
    assert counts(window.traffic(NOW).since_start) == (0, 1, 0)
    assert window.unreadable == 4


def test_an_endless_line_costs_no_memory_and_the_next_one_counts() -> None:
    window = TrafficWindow("node-01")
    tracemalloc.start()
    for _ in range(64):
        window.feed(b"x" * 65536, NOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * TAIL_LIMIT
    window.feed(b"tail\n" + line(), NOW)
    assert counts(window.traffic(NOW).since_start) == (1, 0, 0)


def test_errors_are_those_of_the_last_quarter() -> None:
    window = TrafficWindow("node-01")
    window.feed(line(status=502) + line(status=499) + line(status=500), NOW)
    assert window.traffic(NOW + 800).errors_5xx == 2
    assert window.traffic(NOW + 901).errors_5xx == 0


def test_the_rate_is_per_second_without_the_consoles_own_requests() -> None:
    window = TrafficWindow("node-01")
    window.feed(b"", NOW)
    window.feed(line() * 30 + line("-", "/.kome/release") * 50, NOW + 10)
    assert window.traffic(NOW + 10).requests_per_s == pytest.approx(3.0)
    assert window.traffic(NOW + 60).requests_per_s == pytest.approx(0.5)
    assert window.traffic(NOW + 80).requests_per_s == 0.0
    assert window.traffic(NOW + 10).last_minute.other == 50
    assert all(not request.path.startswith("/.kome") for request in window.traffic(NOW).recent)


def test_top_missed_paths_are_without_queries_and_in_order() -> None:
    lines = [line("MISS", f"/a?{at}") for at in range(5)] + [line("EXPIRED", "/b")] * 3
    found = counted(*lines, line("HIT", "/c"), line("MISS", "/\x1b[2J"))
    assert found.top_missed == (("/a", 5), ("/b", 3), ("/\\x1b[2J", 1))


def test_frequent_paths_are_found_among_endlessly_many() -> None:
    chance = random.Random(3)
    lines = [line("MISS", f"/scan/{at}") for at in range(5000)] + [line("MISS", "/hot")] * 600
    chance.shuffle(lines)
    top = counted(*lines).top_missed
    assert top[0][0] == "/hot"
    assert 500 < top[0][1] <= 600
    assert len(top) == 10


def test_recent_requests_are_the_last_ones_and_clean() -> None:
    found = counted(*(line(uri=f"/{at}") for at in range(80)), line("\x1b[2J", "/\u202e[/"))
    assert len(found.recent) == 50
    assert found.recent[-1].path == "/\\u202e[/"
    assert found.recent[-1].cache == "\\x1b[2J"
    assert found.recent[0].path == "/31"
    assert found.recent[-2].client == "127.0.0.9"
    assert found.recent[-2].seconds == 0.004


def test_memory_is_bounded_over_a_long_session() -> None:
    window = TrafficWindow("node-01")
    for second in range(5000):
        window.feed(line(), NOW + second)
    found = window.traffic(NOW + 4999)
    assert found.last_quarter.hits == 900
    assert found.since_start.hits == 5000
    assert len(window._seconds) <= 901


def test_a_clock_set_back_does_not_break_the_windows() -> None:
    window = TrafficWindow("node-01")
    window.feed(line(), NOW)
    window.feed(line(), NOW - 7200)
    assert window.traffic(NOW - 7200).last_minute.hits == 1
    assert window.traffic(NOW - 7200).requests_per_s >= 0
