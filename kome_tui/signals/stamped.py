"""One HTTP connection whose reads are stamped, under one deadline.

Imported by the probe's child. The stamp is taken right after recv returns: httpcore asks for bytes
only when it needs them, so what it yields next came with the read stamped last.
"""

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from kome_tui.signals.sse import EventTooLong
from kome_tui.text import CELL_LIMIT, clean

Headers = list[tuple[bytes, bytes]]


class ProbeError(Exception):
    """A stream that cannot be measured, or not to its end; the text is clean."""


class StampedConnection:
    """A connection to one server, opened on first use and again when the server closed it."""

    def __init__(self, address: str, port: int, host: str, deadline: float) -> None:
        self._address = address
        self._port = port
        self._host = host
        self._deadline = deadline
        self._stream: StampedStream | None = None
        self._http: httpcore.HTTP11Connection | None = None

    def ask(
        self, method: str, target: str, headers: Headers, body: bytes = b""
    ) -> httpcore.Response:
        """Send a request, return the answer's head; its body is still to be read.

        Raises what httpcore raises; see explained().
        """
        url = httpcore.URL(
            scheme=b"http", host=self._address.encode(), port=self._port, target=target.encode()
        )
        own = [(b"Host", self._host.encode()), (b"User-Agent", b"kome-tui probe")]
        if body:
            own.append((b"Content-Length", str(len(body)).encode()))
        request = httpcore.Request(method, url, headers=own + headers, content=body or None)
        return self._ready(url.origin).handle_request(request)

    @property
    def sent_ns(self) -> int:
        """When the last bytes were sent (monotonic)."""
        return self._stream.sent_ns if self._stream else 0

    @property
    def received_ns(self) -> int:
        """When the last bytes were received (monotonic)."""
        return self._stream.received_ns if self._stream else 0

    def hurry(self, within_s: float) -> None:
        """Move the deadline of the present answer forward."""
        if self._stream:
            self._stream.deadline = min(self._deadline, time.monotonic() + within_s)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
        self._http = None

    def _ready(self, origin: httpcore.Origin) -> httpcore.HTTP11Connection:
        old = self._http
        if self._stream and old and old.is_available() and not old.has_expired():
            self._stream.deadline = self._deadline
            return old
        self.close()
        left_s = max(0.001, self._deadline - time.monotonic())
        plain = httpcore.SyncBackend().connect_tcp(self._address, self._port, left_s)
        self._stream = StampedStream(plain, self._deadline)
        self._http = httpcore.HTTP11Connection(origin, self._stream)
        return self._http


class StampedStream(httpcore.NetworkStream):
    """A connection that notes when it was written to and read from, and keeps one deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self.deadline = deadline
        self.sent_ns = 0
        self.received_ns = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout
        received = self._stream.read(max_bytes, left_s)
        self.received_ns = time.monotonic_ns()
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise httpcore.WriteTimeout
        if buffer:
            self.sent_ns = time.monotonic_ns()
            self._stream.write(buffer, left_s)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def explained(doing: Callable[[], str]) -> Iterator[None]:
    """Turn what httpcore raises into a ProbeError with a plain text."""
    try:
        yield
    except httpcore.ConnectTimeout:
        raise ProbeError("connecting timed out") from None
    except httpcore.ConnectError as error:
        raise ProbeError(_why_no_connection(error.__cause__)) from None
    except httpcore.TimeoutException:
        raise ProbeError(f"{doing()}: silent until the time was over") from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise ProbeError(f"{doing()}: the connection was closed") from None
    except zlib.error:
        raise ProbeError(f"{doing()}: broken gzip") from None
    except EventTooLong as error:
        raise ProbeError(f"{doing()}: {error}") from None


def _why_no_connection(error: BaseException | None) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    reason = error.strerror if isinstance(error, OSError) else None
    return f"no connection: {clean(reason or 'unknown reason', CELL_LIMIT)}"
