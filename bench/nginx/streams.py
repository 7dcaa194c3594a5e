"""Reads many token streams at once, in a process of its own; prints `open`, then one JSON line.

    python -m bench.nginx.streams TOKENS EVERY_MS EACH PORT...

EACH streams from every port. Arrivals are the kernel's receive stamps (SO_TIMESTAMPNS, Linux), so a
reader that is woken late does not count; the delay is from the moment the server says it sent.
"""

import gc
import json
import re
import select
import socket
import struct
import sys
import time

SO_TIMESTAMPNS = 35
EVENT = re.compile(rb'data: \{"n": ([0-9]+), "at": ([0-9]+)\}\n\n')
TIMESPEC = struct.Struct("qq")


class Stream:
    """One stream: its delays, and whether every token came, once and in order."""

    def __init__(self, port: int, tokens: int, every_ms: float) -> None:
        self.port = port
        self.delays_us: list[float] = []
        self.in_order = True
        self.merged = 0
        self.unstamped = 0
        self.ended = False
        self._next = 0
        self._buffer = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        target = f"/v1/chat/completions?tokens={tokens}&every_ms={every_ms}"
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        self.socket.setblocking(False)

    def read(self) -> bool:
        """Take what is there; False when the stream is over."""
        try:
            data, extra, _, _ = self.socket.recvmsg(65536, 64)
        except ConnectionResetError:
            return False
        stamps: list[tuple[int, int]] = [
            TIMESPEC.unpack(stamp[:16]) for _, kind, stamp in extra if kind == SO_TIMESTAMPNS
        ]
        self._buffer += data
        self.ended = self.ended or self._buffer.endswith(b"\r\n0\r\n\r\n")
        found = list(EVENT.finditer(self._buffer))
        self.merged += len(found) > 1
        # the kernel begins to stamp a moment after it was asked to: the first may come without
        arrived_ns = _nanoseconds(stamps[-1]) if stamps else time.time_ns()
        self.unstamped += len(found) if not stamps else 0
        for event in found:
            self.in_order &= int(event[1]) == self._next
            self._next += 1
            self.delays_us.append((arrived_ns - int(event[2])) / 1000)
        if found:
            self._buffer = self._buffer[found[-1].end() :]
        return bool(data) and not self.ended


def _nanoseconds(stamp: tuple[int, int]) -> int:
    return stamp[0] * 10**9 + stamp[1]


def main() -> None:
    """Read every stream to its end, at most as long as they should take and 15 s."""
    tokens, every_ms, each = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    ports = [int(port) for port in sys.argv[4:]]
    streams = [Stream(port, tokens, every_ms) for _ in range(each) for port in ports]
    waiting = {stream.socket.fileno(): stream for stream in streams}
    poll = select.epoll()
    for descriptor in waiting:
        poll.register(descriptor, select.EPOLLIN)
    print("open", flush=True)
    deadline = time.monotonic() + tokens * every_ms / 1000 + 15
    gc.disable()
    while waiting and time.monotonic() < deadline:
        for descriptor, _ in poll.poll(1):
            if not waiting[descriptor].read():
                poll.unregister(descriptor)
                del waiting[descriptor]
    print(
        json.dumps(
            [
                {
                    "port": stream.port,
                    "delays_us": stream.delays_us,
                    "in_order": stream.in_order,
                    "merged": stream.merged,
                    "unstamped": stream.unstamped,
                    "ended": stream.ended,
                }
                for stream in streams
            ]
        )
    )


if __name__ == "__main__":
    main()
