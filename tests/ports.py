"""A port for a server of a test."""

import os
import random
import re
import socket
from collections.abc import Iterator
from contextlib import suppress

_LOWEST, _END = 20_000, 32_000
_WORKERS = 8


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds at the moment.

    It lies below what systems hand out for outgoing connections, so that no client gets it before
    the server that it is meant for; and no other test, in this worker of pytest-xdist or another,
    is given it meanwhile.
    """
    for _ in range(200):
        port = next(_ports)
        with socket.socket() as held, suppress(OSError):
            held.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port found on 127.0.0.1")


def _shuffled() -> Iterator[int]:
    """The ports of this worker alone, each once before any comes again."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "0")))
    mine = list(range(_LOWEST + worker % _WORKERS, _END, _WORKERS))
    while True:
        random.SystemRandom().shuffle(mine)
        yield from mine


_ports = _shuffled()
