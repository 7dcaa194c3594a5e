"""The services behind the edge, each a process at its own address of the LAN.

    python -m tests.machines.services okome 192.168.86.25:8000 VLLM REDIS
    python -m tests.machines.services vllm|ollama|tf-rest|tf-grpc 192.168.86.30:8000

They are the practice fleet's, which listen on a port of loopback; a carrier takes each byte, at
once, between that and the true address. OKOME reaches vLLM and Redis at theirs in the same way.
"""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

from kome_tui.lab import models
from kome_tui.lab.listener import Listener
from kome_tui.lab.okome import Okome
from kome_tui.lab.ports import LOOPBACK
from tests.machines.cgroups import Group
from tests.machines.image import CHECKOUT
from tests.machines.world import CommandFailed, World, children, listens
from tests.waiting import wait_until

START_S = 60.0
MODELS = {
    "vllm": models.vllm,
    "ollama": models.ollama,
    "tf-rest": models.tf_rest,
    "tf-grpc": models.tf_grpc,
}


class Service:
    """One service of the LAN. Made by Lan."""

    def __init__(
        self, world: World, name: str, host: str, port: int, command: list[str], files: Path
    ) -> None:
        self.name = name
        self._world = world
        self._host = host
        self._port = port
        self._command = command
        self._console = files / f"{name}.console"
        self._group: Group = world.group.child(f"service-{name}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens. Harmless when it runs."""
        self.launch()
        self.wait_until_up()

    def launch(self) -> None:
        """Start it and wait for nothing."""
        if self._process is None:
            with self._console.open("ab") as console:
                self._process = self._world.start(self._command, self._group, self._host, console)

    def wait_until_up(self) -> None:
        """Wait until it listens."""
        assert self._process is not None
        process = self._process

        def up() -> bool:
            if process.poll() is not None:
                raise CommandFailed(f"{self.name} ended: {self._console.read_text()}")
            return any(listens(child, self._port) for child in children(process.pid))

        wait_until(up, START_S)

    def stop(self) -> None:
        """Kill it: its port is refused from now on."""
        self._group.end()
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        """Hang it: connections are taken, and nothing is answered."""
        self._group.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._group.thaw()


def command_of(name: str, *addresses: str) -> list[str]:
    """The command of a service, to be run in its host's network namespace."""
    found = f"PYTHONPATH={CHECKOUT}"  # in the world the working folder is /
    return ["env", found, sys.executable, "-m", "tests.machines.services", name, *addresses]


async def _serve(name: str, *addresses: str) -> None:
    if name == "okome":
        vllm, redis = [await _carry((LOOPBACK, 0), _split(target)) for target in addresses[1:]]
        listener: Listener = Okome(vllm, redis).listener()
    else:
        listener = MODELS[name]()
    await listener.open()
    await _carry(_split(addresses[0]), (LOOPBACK, listener.port))
    await asyncio.Event().wait()


async def _carry(here: tuple[str, int], there: tuple[str, int]) -> int:
    """Carry every connection made `here` on to `there`; the port it listens on."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(*there)
                try:
                    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
                finally:
                    far_writer.close()
        finally:
            writer.close()

    server = await asyncio.start_server(carry, *here)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
