"""An open-loop load generator in a process of its own; prints one JSON object.

    python -m bench.nginx.load PORT PATH RATE SECONDS LANES SEED [keep|new] [gzip]

Requests fall due at times drawn beforehand (Poisson), whatever the server does; latency counts from
the moment a request was due, so a server that stops is not measured less often (coordinated
omission). `keep` holds LANES connections open, `new` makes one for each request.
"""

import asyncio
import gc
import json
import random
import sys
from collections import Counter, deque
from selectors import SelectSelector

PATIENCE_S = 10.0


def ends(buffer: bytes) -> int | None:
    """Where the answer in `buffer` ends; None while it is not complete."""
    at = buffer.find(b"\r\n\r\n")
    if at < 0:
        return None
    head, at = buffer[:at].lower(), at + 4
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or b"0")
        return at + length if len(buffer) >= at + length else None
    while (line := buffer.find(b"\r\n", at)) >= 0:
        size = int(buffer[at:line], 16)
        at = line + 2 + size + 2
        if len(buffer) < at:
            return None
        if size == 0:
            return at
    return None


class Lane(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = b""
        self._due: float | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, due: float) -> None:
        """Send the request that was due at `due`."""
        assert self._transport is not None
        self._due = due
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._due is None or ends(self._buffer) is None:
            return
        due, self._due = self._due, None
        self._load.answered(self, due, self._buffer)
        self._buffer = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._due is None:
            self._load.gone(self)
            return
        kind = "reset" if isinstance(exc, ConnectionResetError) else "closed"
        self._load.dropped(self, f"{kind} {'mid-answer' if self._buffer else 'unanswered'}")

    def close(self) -> None:
        """Give the connection up."""
        if self._transport is not None:
            self._transport.close()

    @property
    def is_open(self) -> bool:
        """Whether the server has not closed it."""
        return self._transport is not None and not self._transport.is_closing()


class Load:
    """The schedule, the connections, and what came of each request."""

    def __init__(self, port: int, path: str, lanes: int, keep: bool, gzip: bool) -> None:
        coding = "Accept-Encoding: gzip\r\n" if gzip else ""
        self.request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n{coding}\r\n".encode()
        self.latencies_us: list[int] = []
        self.late_us: list[int] = []
        self.outcomes: Counter[str] = Counter()
        self.bytes = 0
        self._port = port
        self._lanes = lanes
        self._keep = keep
        self._idle: deque[Lane] = deque()
        self._open = 0
        self._waiting: deque[float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, dues: list[float]) -> None:
        """Send every request at its time; dues are seconds from now."""
        loop = asyncio.get_running_loop()
        start = loop.time() + 0.5
        for _ in range(self._lanes if self._keep else 0):
            await self._connect(None)
        for due in dues:
            loop.call_at(start + due, self._fire, start + due)
        deadline = start + dues[-1] + PATIENCE_S
        while sum(self.outcomes.values()) < len(dues) and loop.time() < deadline:
            await asyncio.sleep(0.05)
        self.outcomes["no answer in time"] += len(dues) - sum(self.outcomes.values())

    def answered(self, lane: Lane, due: float, answer: bytes) -> None:
        """Count an answer and use its connection again."""
        now = asyncio.get_running_loop().time()
        status = answer[9:12].decode()
        self.outcomes["200" if status == "200" else f"status {status}"] += 1
        self.latencies_us.append(round((now - due) * 1e6))
        self.bytes += len(answer)
        if not self._keep:
            self._open -= 1
            lane.close()
        elif self._waiting:
            lane.ask(self._waiting.popleft())
        else:
            self._idle.append(lane)

    def dropped(self, lane: Lane, how: str) -> None:
        """Count a request without an answer."""
        self.outcomes[how] += 1
        self._open -= 1

    def gone(self, lane: Lane) -> None:
        """The server closed a connection that had nothing to do."""
        if lane in self._idle:
            self._idle.remove(lane)
            self._open -= 1

    def _fire(self, due: float) -> None:
        self.late_us.append(round((asyncio.get_running_loop().time() - due) * 1e6))
        while self._idle:
            lane = self._idle.popleft()
            if lane.is_open:
                lane.ask(due)
                return
            self._open -= 1
        if not self._keep or self._open < self._lanes:
            task = asyncio.ensure_future(self._connect(due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._waiting.append(due)

    async def _connect(self, due: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._open += 1
        try:
            _, lane = await loop.create_connection(lambda: Lane(self), "127.0.0.1", self._port)
        except OSError as error:
            self._open -= 1
            kind = "refused" if isinstance(error, ConnectionRefusedError) else "not connected"
            self.outcomes[kind] += due is not None
            return
        if due is None:
            self._idle.append(lane)
        else:
            lane.ask(due)


def main() -> None:
    """Run the load that the arguments describe."""
    port, path, rate, seconds, lanes, seed = sys.argv[1:7]
    draw, due, dues = random.Random(int(seed)), 0.0, []
    while (due := due + draw.expovariate(float(rate))) < float(seconds):
        dues.append(due)
    load = Load(int(port), path, int(lanes), "new" not in sys.argv[7:], "gzip" in sys.argv[7:])
    gc.disable()
    asyncio.SelectorEventLoop(SelectSelector()).run_until_complete(load.run(dues))
    print(
        json.dumps(
            {
                "latencies_us": load.latencies_us,
                "late_us": load.late_us,
                "outcomes": load.outcomes,
                "bytes": load.bytes,
                "requests": len(dues),
            }
        )
    )


if __name__ == "__main__":
    main()
