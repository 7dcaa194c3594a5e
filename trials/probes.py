"""Asks a node all the time while it is pushed to and broken: each answer is one release's, whole.

A refused or cut connection is counted, not a violation: nginx was killed. An answer that belongs to
no release, or mixes two, is one.
"""

import re
import socket
import threading
from collections import Counter

from trials.tally import Tally

PAUSE_S = 0.004
_WHOLE = re.compile(rb"HTTP/1\.1 200 OK\r\n.*\r\n\r\n([0-9a-f]{12}) (page-\d+)\Z", re.DOTALL)


class Prober:
    """A context manager; `tally` fills while it is open."""

    def __init__(self, port: int) -> None:
        self.tally = Tally("answers during faults")
        self._port = port
        self._pages: dict[bytes, bytes] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)
        self._seen: Counter[str] = Counter()

    def __enter__(self) -> "Prober":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.tally.counts = self._seen

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self._ask()
            except ConnectionRefusedError:
                self._seen["refused"] += 1
                self._stop.wait(0.001)
                continue
            except OSError:
                self._seen["cut"] += 1
                continue
            self._judge(answer)
            self._stop.wait(PAUSE_S)

    def _judge(self, answer: bytes) -> None:
        self.tally.runs += 1
        whole = _WHOLE.match(answer)
        if not answer:
            self._seen["closed without an answer"] += 1
        elif not whole:
            self.tally.violations.append(f"no release's answer: {answer[-80:]!r}")
        elif self._pages.setdefault(whole[1], whole[2]) != whole[2]:
            self.tally.violations.append(f"{whole[1]!r} answered two pages: {answer[-80:]!r}")

    def _ask(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), 5) as connection:
            connection.sendall(b"GET /probe HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            parts = []
            while part := connection.recv(4096):
                parts.append(part)
            return b"".join(parts)
