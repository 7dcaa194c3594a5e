"""Counts one node's access log: exactly, in per-second buckets, with bounded memory. Pure.

Live lines count at their arrival on this machine, because a Pi has no clock at boot; a backlog
counts by the lines' own times. Only lines that end in a newline count: the torn tail waits.
"""

from collections import deque
from dataclasses import dataclass

from kome_tui.nginx.logformat import LogLine, parse_line
from kome_tui.signals.readings import (
    CACHE_HITS,
    CACHE_MISSES,
    HitCounts,
    Request,
    Traffic,
)
from kome_tui.text import CELL_LIMIT, clean

MINUTE_S = 60
QUARTER_S = 900
RECENT_KEPT = 50
PATHS_COUNTED = 128
PATHS_SHOWN = 10
TAIL_LIMIT = 256 * 1024
"""nginx writes no line this long; what is longer is no access log."""
OWN_PATHS = "/.kome/"


class TrafficWindow:
    """One node's log, counted. Not thread-safe: one follower feeds it."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._tail = _Tail()
        self._seconds: dict[int, _Second] = {}
        self._since_start = _Second()
        self._first_fed_at: float | None = None
        self._newest_line_at: float | None = None
        self._missed = _Frequent(PATHS_COUNTED)
        self._recent: deque[LogLine] = deque(maxlen=RECENT_KEPT)
        self.unreadable = 0
        """Lines that are not in our format: another program's, or an older release's."""

    def feed(self, data: bytes, now: float, backlog: bool = False) -> None:
        """Count the complete lines of `data`, which follows what was fed before.

        `now`: Unix seconds of this machine, when `data` arrived. With `backlog` each line counts
        at its own time (never later than `now`), else at `now`.
        """
        if self._first_fed_at is None:
            self._first_fed_at = now
        for raw in self._tail.complete(data):
            line = parse_line(raw)
            if line is None:
                self.unreadable += 1
            else:
                self._count(line, min(line.at, now) if backlog else now)
        self._forget(now)

    def cut(self) -> None:
        """Forget the torn tail: what is fed next does not follow (a gap, another file)."""
        self._tail = _Tail()

    def traffic(self, now: float) -> Traffic:
        """The counts as of `now`, Unix seconds of this machine. Windows have whole seconds.

        Requests to /.kome/ are the console's own: they count in the windows, but not in
        requests_per_s, top_missed and recent.
        """
        minute, quarter = self._last(MINUTE_S, now), self._last(QUARTER_S, now)
        return Traffic(
            last_minute=minute.counts(MINUTE_S),
            last_quarter=quarter.counts(QUARTER_S),
            since_start=self._since_start.counts(0),
            requests_per_s=minute.requests / self._measured_s(now),
            errors_5xx=quarter.errors_5xx,
            newest_line_at=self._newest_line_at,
            top_missed=self._missed.top(PATHS_SHOWN),
            recent=tuple(_request(line, self._node) for line in self._recent),
        )

    def _count(self, line: LogLine, at: float) -> None:
        own = line.uri.startswith(OWN_PATHS)
        second = self._seconds.setdefault(int(at), _Second())
        second.add(line, own)
        self._since_start.add(line, own)
        if self._newest_line_at is None or line.at > self._newest_line_at:
            self._newest_line_at = line.at
        if at < (self._first_fed_at or at):
            self._first_fed_at = at
        if own:
            return
        if line.cache in CACHE_MISSES:
            self._missed.add(line.path[:CELL_LIMIT])
        self._recent.append(line)

    def _last(self, window_s: int, now: float) -> "_Second":
        newest = int(now)
        total = _Second()
        for at, second in self._seconds.items():
            if newest - window_s < at <= newest:
                total.include(second)
        return total

    def _measured_s(self, now: float) -> float:
        """The length of the last minute as far as there was anything to count it from."""
        began = now if self._first_fed_at is None else self._first_fed_at
        return min(float(MINUTE_S), max(1.0, now - began))

    def _forget(self, now: float) -> None:
        """Drop the seconds outside every window; a clock set back leaves some in the future."""
        newest = int(now)
        if len(self._seconds) > QUARTER_S:
            self._seconds = {
                at: second
                for at, second in self._seconds.items()
                if newest - QUARTER_S < at <= newest
            }


@dataclass(slots=True)
class _Second:
    """Requests of one second, or of several added up."""

    hits: int = 0
    misses: int = 0
    other: int = 0
    requests: int = 0
    """All but the console's own."""
    errors_5xx: int = 0

    def add(self, line: LogLine, own: bool) -> None:
        if line.cache in CACHE_HITS:
            self.hits += 1
        elif line.cache in CACHE_MISSES:
            self.misses += 1
        else:
            self.other += 1
        self.requests += not own
        self.errors_5xx += 500 <= line.status <= 599

    def include(self, more: "_Second") -> None:
        self.hits += more.hits
        self.misses += more.misses
        self.other += more.other
        self.requests += more.requests
        self.errors_5xx += more.errors_5xx

    def counts(self, window_s: float) -> HitCounts:
        return HitCounts(self.hits, self.misses, self.other, window_s)


class _Tail:
    """Cuts bytes into complete lines and keeps the unfinished one."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def complete(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, each with its newline."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._keep(data)
            return []
        lines = b"".join([*self._parts, data[:end]]).split(b"\n")[:-1]
        if self._skipping:
            lines = lines[1:]
        self._parts, self._size, self._skipping = [], 0, False
        self._keep(data[end:])
        return [line + b"\n" for line in lines]

    def _keep(self, part: bytes) -> None:
        if self._size + len(part) > TAIL_LIMIT:
            self._parts, self._size, self._skipping = [], 0, True
        elif part and not self._skipping:
            self._parts.append(part)
            self._size += len(part)


class _Frequent:
    """The most frequent of endlessly many names, in bounded memory.

    The space-saving algorithm (Metwally, Agrawal, El Abbadi 2005): a new name takes the place, and
    the count, of the rarest one. What it may have too much is kept beside it and taken off.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts: dict[str, int] = {}
        self._too_much: dict[str, int] = {}

    def add(self, name: str) -> None:
        if name in self._counts:
            self._counts[name] += 1
        elif len(self._counts) < self._size:
            self._counts[name] = 1
        else:
            rarest = min(self._counts, key=self._counts.__getitem__)
            inherited = self._counts.pop(rarest)
            self._too_much.pop(rarest, None)
            self._counts[name] = inherited + 1
            self._too_much[name] = inherited

    def top(self, shown: int) -> tuple[tuple[str, int], ...]:
        """Names, cleaned, with the count that is certain, the most frequent first."""
        certain = [
            (clean(name, CELL_LIMIT), count - self._too_much.get(name, 0))
            for name, count in self._counts.items()
        ]
        certain.sort(key=lambda entry: (-entry[1], entry[0]))
        return tuple(certain[:shown])


def _request(line: LogLine, node: str) -> Request:
    return Request(
        at=line.at,
        node=node,
        status=line.status,
        cache=clean(line.cache, 20),
        method=clean(line.method, 20),
        path=clean(line.uri, CELL_LIMIT),
        seconds=line.request_s,
        client=clean(line.client, 60),
    )
