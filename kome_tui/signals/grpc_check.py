"""Sees whether a port speaks HTTP/2, as every gRPC server does.

The client's preface and SETTINGS go out, and the server's first frame must be SETTINGS
(RFC 9113, 3.4). Nothing is called: which services there are depends on the models loaded.
"""

from kome_tui.errors import KomeError
from kome_tui.signals.dial import Dial, Line, failed, opened
from kome_tui.signals.readings import Check
from kome_tui.topology.model import Endpoint

_SETTINGS = 4
_FRAME_HEAD = 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0))


def check_grpc(endpoint: Endpoint, dial: Dial, timeout_s: float) -> Check:
    """up: SETTINGS came back; degraded: something else did; down: nothing. Never raises."""
    try:
        with opened(dial, endpoint, timeout_s) as line:
            line.sendall(PREFACE)
            head = _read(line, _FRAME_HEAD)
            latency_ms = line.waited_ms()
    except (KomeError, OSError) as error:
        return failed(error, timeout_s)
    if not head:
        return Check("down", None, "closed the connection without an answer")
    if len(head) == _FRAME_HEAD and head[3] == _SETTINGS and head[5:] == bytes(4):
        return Check("up", latency_ms, None)
    return Check("degraded", latency_ms, "answers, but not in HTTP/2: no gRPC server")


def _read(line: Line, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = line.recv(size - len(got))
        if not part:
            break
        got += part
    return got
