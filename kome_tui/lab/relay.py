"""The wire between one node and OKOME: it can pass, cut, hold, delay or clump what it carries.

It listens only while OKOME does, so that a stopped OKOME looks the same from every node.
"""

import asyncio
import contextlib
from collections import deque
from enum import StrEnum

from kome_tui.lab.listener import Listener, crash
from kome_tui.lab.ports import LOOPBACK

CLUMP_S = 0.4
DELAY_S = 0.2

_BACKLOG = 1 << 20  # bytes a slow client may leave lying in the relay


class Mode(StrEnum):
    """What the relay does to the bytes it carries."""

    PASS = "pass"
    CUT = "cut"
    HOLD = "hold"
    DELAY = "delay"
    CLUMP = "clump"


class Relay:
    """A TCP relay to `port` of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._target_up = True
        self._mode = Mode.PASS
        self._listener = Listener(self._serve)
        self._changed = asyncio.Event()
        self.port = self._listener.port

    @property
    def mode(self) -> Mode:
        """What it does now."""
        return self._mode

    async def open(self) -> None:
        """Start relaying."""
        await self._listener.open()

    async def set_mode(self, mode: Mode) -> None:
        """Change what it does. CUT resets the connections there are and refuses new ones."""
        self._mode = mode
        self._changed.set()
        self._changed = asyncio.Event()
        await self._settle()

    async def follow(self, target_up: bool) -> None:
        """Refuse connections while the target does."""
        self._target_up = target_up
        await self._settle()

    async def shut_down(self) -> None:
        """Close for good."""
        await self._listener.shut_down()

    async def _settle(self) -> None:
        if self._target_up and self._mode is not Mode.CUT:
            await self._listener.open()
        else:
            await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._held()
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            crash(writer)
            return
        up = asyncio.ensure_future(self._upstream(reader, far_writer))
        try:
            await self._downstream(far_reader, writer)
        finally:
            up.cancel()
            far_writer.close()

    async def _upstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._held()
                writer.write(data)
                await writer.drain()
            # The client is gone: OKOME must notice, else it streams on for nobody.
            writer.close()

    async def _downstream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        arrived, taken = asyncio.Event(), asyncio.Event()
        ended = False

        async def receive() -> None:
            nonlocal ended
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    waiting.append((_now(), data))
                    arrived.set()
                    while sum(len(part) for _, part in waiting) > _BACKLOG:
                        taken.clear()
                        await taken.wait()
            ended = True
            arrived.set()

        receiving = asyncio.ensure_future(receive())
        try:
            while not ended or waiting:
                if not waiting:
                    arrived.clear()
                    await arrived.wait()
                    continue
                await self._until_due(waiting[0][0])
                writer.write(b"".join(self._take(waiting)))
                taken.set()
                await writer.drain()
        finally:
            receiving.cancel()

    async def _until_due(self, arrival: float) -> None:
        await self._held()
        wait_s = {Mode.DELAY: DELAY_S, Mode.CLUMP: CLUMP_S}.get(self._mode, 0.0)
        if (rest := arrival + wait_s - _now()) > 0:
            await asyncio.sleep(rest)

    def _take(self, waiting: deque[tuple[float, bytes]]) -> list[bytes]:
        if self._mode is Mode.DELAY:
            return [waiting.popleft()[1]]
        parts = [data for _, data in waiting]
        waiting.clear()
        return parts

    async def _held(self) -> None:
        while self._mode is Mode.HOLD:
            await self._changed.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
