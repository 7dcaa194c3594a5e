"""A command that runs on a node: standard input, output and error served in one loop.

Reading only one of the two output streams would stop the command once the other's window is full.
"""

import contextlib
import threading
import time

import paramiko

from kome_tui.errors import NodeTimeout
from kome_tui.fleet.transport import NodeTransport

STDERR_KEPT = 2048
READ_SIZE = 64 * 1024
_SEND_RETRY_S = 0.02
_STATUS_RETRY_S = 0.05


class RemoteCommand:
    """A command that runs on a node. Reads from one thread; close() from any."""

    def __init__(
        self, node: str, channel: paramiko.Channel, stdin: bytes, keep_stdin: bool
    ) -> None:
        self.node = node
        self._channel = channel
        self._unsent = memoryview(stdin)
        self._keep_stdin = keep_stdin
        self._stderr = bytearray()
        self._wake = _Wake()
        self.closed = False
        """close() was called."""
        channel.settimeout(0.0)
        # It asks for an Event, and uses only what _Wake has of one.
        channel.in_buffer.set_event(self._wake)  # type: ignore[arg-type]
        channel.in_stderr_buffer.set_event(self._wake)  # type: ignore[arg-type]
        self._stdin_done = False

    @property
    def stderr(self) -> bytes:
        """The first bytes of its standard error, at most STDERR_KEPT."""
        return bytes(self._stderr)

    def feed(self, stdin: bytes, *, keep_stdin: bool) -> None:
        """Send more standard input, which read() does; only where it was kept open so far."""
        self._unsent = memoryview(bytes(self._unsent) + stdin)
        self._keep_stdin = keep_stdin
        self._stdin_done = False

    def send(self, deadline: float) -> None:
        """Send what is due of its standard input; the rest goes with read() after `deadline`.

        OpenSSH's server takes nothing before it has started the command.
        """
        self._send()
        while not (self._stdin_done or self.ended or time.monotonic() > deadline):
            self._wake.wait(_SEND_RETRY_S)
            self._send()

    def read(self, deadline: float) -> bytes:
        """The next bytes of its standard output, b"" at its end.

        Sends standard input and drains standard error meanwhile. Raises NodeTimeout after
        `deadline` (time.monotonic()), also where a command never stops talking.
        """
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NodeTimeout(self.node, "did not finish in time; the outcome is not known")
            self._send()
            self._drain()
            with contextlib.suppress(TimeoutError):
                return self._channel.recv(READ_SIZE)
            self._wake.wait(left if self._stdin_done else min(left, _SEND_RETRY_S))

    def finish(self, deadline: float) -> int | None:
        """Its exit status once standard output has ended; None where none was told."""
        while not self._channel.status_event.wait(_STATUS_RETRY_S):
            self._drain()
            if time.monotonic() > deadline:
                raise NodeTimeout(self.node, "did not end in time; the outcome is not known")
        self._drain()
        return self._channel.exit_status if self._channel.exit_status >= 0 else None

    @property
    def lost(self) -> bool:
        """The connection under it has gone."""
        transport = self._channel.get_transport()
        return not transport.is_active()

    def heard_since(self, moment: float) -> bool:
        """Whether anything came from its node after `moment` (time.monotonic())."""
        transport = self._channel.get_transport()
        return isinstance(transport, NodeTransport) and transport.heard_since(moment)

    @property
    def ended(self) -> bool:
        """It has closed its output, or the connection has gone; what it sent may be unread."""
        return bool(self._channel.eof_received or self._channel.closed) or self.lost

    @property
    def accepted(self) -> bool:
        """The SSH server agreed to run it."""
        return bool(self._channel.event_ready)

    def close(self) -> None:
        """Close its input and output, which ends it; a reader in another thread sees the end."""
        self.closed = True
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            self._channel.close()

    def __enter__(self) -> "RemoteCommand":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self) -> None:
        try:
            while self._unsent:
                sent = self._channel.send(bytes(self._unsent[:READ_SIZE]))
                if sent == 0:
                    raise OSError("closed")
                self._unsent = self._unsent[sent:]
            if not self._stdin_done and not self._keep_stdin:
                self._channel.shutdown_write()
            self._stdin_done = True
        except TimeoutError:
            return  # its window is full; the next round tries again
        except (paramiko.SSHException, EOFError, OSError):
            self._unsent = memoryview(b"")  # it has ended without reading all: its answer counts
            self._stdin_done = True

    def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            while received := self._channel.recv_stderr(READ_SIZE):
                self._stderr += received[: STDERR_KEPT - len(self._stderr)]


class _Wake:
    """Set by either stream. A stream that runs empty must not clear what the other has set."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        pass

    def wait(self, timeout_s: float) -> None:
        self._event.wait(timeout_s)
        self._event.clear()
