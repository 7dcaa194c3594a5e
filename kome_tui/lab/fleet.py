"""The whole practice fleet in one event loop: services, relays, nodes, control and traffic.

What is started is entered in one exit stack at once, so that a start that breaks off midway is
undone as completely as a finished one.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import asyncssh

from kome_tui.errors import LabError
from kome_tui.fleet.script import script_of
from kome_tui.lab import models
from kome_tui.lab.control import record, serve_control
from kome_tui.lab.faults import FAULTS
from kome_tui.lab.listener import Listener
from kome_tui.lab.node import LabNode
from kome_tui.lab.okome import Okome
from kome_tui.lab.plan import roles_of, ssh_config, topology_values
from kome_tui.lab.programs import NODE_PATH, find_nginx
from kome_tui.lab.redis_server import Redis
from kome_tui.lab.relay import Mode, Relay
from kome_tui.lab.ssh import OnGroup, Shell, SshServer
from kome_tui.lab.standins import write_standins
from kome_tui.lab.traffic import Traffic
from kome_tui.topology.load import parse
from kome_tui.topology.model import Role
from kome_tui.topology.write import to_yaml


class Lab:
    """A practice fleet in `folder`. `on_group` is told of every process group it starts."""

    def __init__(self, folder: Path, node_count: int, *, traffic: bool, on_group: OnGroup) -> None:
        self._folder = folder
        self._roles = roles_of(node_count)
        self._has_traffic = traffic
        self._on_group = on_group
        self._stack = AsyncExitStack()
        self._acting = asyncio.Lock()
        self._broken: set[str] = set()
        self._nodes: dict[str, LabNode] = {}

    async def __aenter__(self) -> "Lab":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every socket and end the tasks. Processes are the claim's to end."""
        await self._stack.aclose()

    @property
    def frontend(self) -> LabNode:
        """The node that faults hit."""
        return next(node for node in self._nodes.values() if node.role is Role.FRONTEND)

    async def start(self) -> None:
        """Start everything; when this returns, every node serves and every file is written."""
        nginx = await asyncio.to_thread(find_nginx)
        for name in ("bin", "ssh", "nodes", "redis"):
            (self._folder / name).mkdir(mode=0o700)
        write_standins(self._folder / "bin")
        await self._open_services()
        key = asyncssh.generate_private_key("ssh-ed25519")
        for name, role in self._roles.items():
            relay = Relay(self._okome.port)
            self._stack.push_async_callback(relay.shut_down)
            await relay.open()
            root = self._folder / "nodes" / name
            node = LabNode(name, role, root, nginx, relay, self._on_group)
            self._stack.callback(node.give_up_port)
            node.write()
            node.ssh = SshServer(key, Shell(root, self._environment(root), self._on_group))
            self._stack.push_async_callback(node.ssh.shut_down)
            self._nodes[name] = node
        async with asyncio.TaskGroup() as starting:
            starting.create_task(self.redis.start())
            for node in self._nodes.values():
                starting.create_task(node.start_nginx())
        self._write_files(key, topology_values(
            list(self._nodes.values()), self._upstream_ports(), self._draft.port, nginx,
            is_root=os.geteuid() == 0,
        ))  # fmt: skip
        for node in self._nodes.values():
            await node.ssh.open()
        self._stack.push_async_callback(await serve_control(self._folder, self._act))
        if self._has_traffic:
            self._begin_traffic()
        record(self._folder)

    async def set_okome(self, *, up: bool) -> None:
        """Start or stop OKOME, for everyone: the nodes' relays refuse while it does."""
        if up:
            await self._okome.open()
        for node in self._nodes.values():
            await node.relay.follow(target_up=up)
        if not up:
            await self._okome.close()

    async def set_relay(self, mode: str) -> None:
        """Change what lies between the frontend and OKOME."""
        await self.frontend.relay.set_mode(Mode(mode))

    async def _open_services(self) -> None:
        self.redis = Redis(self._folder / "redis", self._on_group)
        self._stack.push_async_callback(self.redis.stop)
        self.vllm = await self._opened(models.vllm())
        self._draft = await self._opened(models.vllm())
        self._ollama = await self._opened(models.ollama())
        self._tf_rest = await self._opened(models.tf_rest())
        self._tf_grpc = await self._opened(models.tf_grpc())
        self._okome = await self._opened(Okome(self.vllm.port, self.redis.port).listener())

    async def _opened(self, listener: Listener) -> Listener:
        self._stack.push_async_callback(listener.shut_down)
        await listener.open()
        return listener

    def _upstream_ports(self) -> dict[str, int]:
        return {
            "okome": self._okome.port,
            "vllm": self.vllm.port,
            "ollama": self._ollama.port,
            "tf-rest": self._tf_rest.port,
            "tf-grpc": self._tf_grpc.port,
            "redis": self.redis.port,
        }

    def _environment(self, root: Path) -> Mapping[str, str]:
        path = f"{self._folder}/bin:{NODE_PATH}"
        return {"PATH": path, "HOME": str(root), "SHELL": "/bin/sh", "USER": "kome", "LANG": "C"}

    def _write_files(self, key: asyncssh.SSHKey, values: dict[str, object]) -> None:
        text = to_yaml(values)
        topology = parse(text.encode(), str(self._folder / "topology.yaml"))
        for name, node in self._nodes.items():
            script = node.root / "kome-node"
            script.write_text(script_of(topology, name))
            script.chmod(0o755)
        ssh = self._folder / "ssh"
        fd = os.open(ssh / "id_ed25519", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(key.export_private_key())
        lines = (node.ssh.known_hosts_line() for node in self._nodes.values())
        (ssh / "known_hosts").write_text("".join(lines))
        ports = {name: node.ssh.port for name, node in self._nodes.items()}
        (self._folder / "ssh_config").write_text(ssh_config(self._folder, ports))
        (self._folder / "topology.yaml").write_text(text)

    def _begin_traffic(self) -> None:
        edge = [node.port for node in self._nodes.values() if node is not self.frontend]
        task = asyncio.ensure_future(Traffic(self.frontend.port, edge).run())
        self._stack.push_async_callback(_ended(task))

    async def _act(self, verb: str, fault: str | None) -> str:
        async with self._acting:
            match verb:
                case "break":
                    return await self._break(fault or "")
                case "heal":
                    return await self._heal()
                case "faults":
                    return ", ".join(sorted(self._broken)) or "nothing is broken"
        raise LabError(f"the lab does not know how to {verb!r}")

    async def _break(self, code: str) -> str:
        fault = FAULTS.get(code)
        if fault is None:
            raise LabError(f"no fault is called {code!r}", hint=f"there are: {', '.join(FAULTS)}")
        self._broken.add(code)
        await fault.make(self)
        return f"{code}: {fault.description}"

    async def _heal(self) -> str:
        """Undo everything, whatever was broken; a step that fails does not stop the others."""
        failed = []
        for code, fault in FAULTS.items():
            try:
                await fault.undo(self)
            except (LabError, OSError) as error:
                failed.append(f"{code}: {error}")
        if failed:
            raise LabError(f"not all could be healed: {'; '.join(failed)}")
        healed = sorted(self._broken)
        self._broken.clear()
        return f"healed: {', '.join(healed)}" if healed else "nothing was broken"


def _ended(task: "asyncio.Task[None]") -> Callable[[], "asyncio.Future[None]"]:
    async def end() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return lambda: asyncio.ensure_future(end())
