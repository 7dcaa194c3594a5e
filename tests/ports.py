"""A port for a server of a test."""

import random
import socket
from contextlib import suppress

_random = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds at the moment.

    It lies below what systems hand out for outgoing connections, so that no client gets it before
    the server that it is meant for.
    """
    for _ in range(200):
        port = _random.randrange(20_000, 32_000)
        with socket.socket() as held, suppress(OSError):
            held.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port found on 127.0.0.1")
