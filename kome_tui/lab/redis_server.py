"""The lab's Redis: redis-server if this machine has one, else fakeredis, as a child process."""

import asyncio
import contextlib
from pathlib import Path

from kome_tui.errors import LabError
from kome_tui.lab.ports import HeldPort, answers
from kome_tui.lab.programs import redis_command
from kome_tui.lab.ssh import OnGroup

START_S = 10.0
STOP_S = 3.0
_POLL_S = 0.02


class Redis:
    """A Redis on a port of its own that can be stopped and started."""

    def __init__(self, folder: Path, on_group: OnGroup) -> None:
        self._held = HeldPort()
        self._folder = folder
        self._on_group = on_group
        self._process: asyncio.subprocess.Process | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._held.number

    async def start(self) -> None:
        """Start it and wait until it listens. Starting twice is harmless. Raises LabError."""
        if self._process is not None and self._process.returncode is None:
            return
        self._held.release()
        self._process = process = await asyncio.create_subprocess_exec(
            *redis_command(self.port, self._folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._folder,
            start_new_session=True,
        )
        self._on_group(process.pid, True)
        (self._folder / "redis.pid").write_text(f"{process.pid}\n")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_S
        while not answers(self.port):
            if process.returncode is not None or loop.time() > deadline:
                raise LabError(f"Redis does not start on port {self.port}")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """End it and wait for it. Stopping twice is harmless."""
        self._held.release()
        process = self._process
        if process is None:
            return
        self._process = None
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        (self._folder / "redis.pid").unlink(missing_ok=True)
        self._on_group(process.pid, False)
