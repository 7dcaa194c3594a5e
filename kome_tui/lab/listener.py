"""A TCP server on one port of 127.0.0.1 that can be closed and opened again.

While it is closed the port stays bound, so connecting is refused and nobody else can take it.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

from kome_tui.lab.ports import port_of, reserve

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


_NO_LINGER = struct.pack("ii", 1, 0)


def crash(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST, as the kernel of a machine does whose program has died."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


class Listener:
    """Calls `serve(reader, writer)` for every connection while it is open."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._bound = reserve()
        self.port = port_of(self._bound)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None

    async def open(self) -> None:
        """Accept connections. Opening twice is harmless."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=self._bound)

    async def close(self) -> None:
        """Refuse new connections and reset those there are. Closing twice is harmless."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._bound = reserve(self.port)
        await self.reset()

    async def shut_down(self) -> None:
        """Close for good and give the port back."""
        await self.close()
        self._bound.close()

    async def reset(self) -> None:
        """Drop the connections there are, as a crash would (RST)."""
        connections = dict(self._connections)
        for task, writer in connections.items():
            crash(writer)
            task.cancel()
        if connections:
            await asyncio.wait(connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._handle(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that goes away, or sends too much for one line, ends its connection only.
            with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # reset(): the task was cancelled by us, and nobody waits for its result
        finally:
            writer.close()
