"""A practice node's SSH server behaves as OpenSSH's does, seen with the real `ssh`."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import asyncssh
import pytest

from kome_tui.lab.plan import ssh_config
from kome_tui.lab.programs import NODE_PATH
from kome_tui.lab.ssh import Shell, SshServer
from tests.ports import free_port
from tests.waiting import wait_until

MEGABYTES = bytes(range(256)) * (8 << 12)


class Station:
    """One node's SSH server in this process, and the files that `ssh` needs for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups: list[tuple[int, bool]] = []
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        environment = {"PATH": NODE_PATH, "HOME": str(folder)}
        shell = Shell(folder, environment, lambda group, begins: self._note(group, begins))
        self.server = SshServer(self.key, shell)
        (folder / "ssh").mkdir()
        private = folder / "ssh/id_ed25519"
        private.touch(0o600)
        private.write_bytes(self.key.export_private_key())
        (folder / "ssh/known_hosts").write_text(self.server.known_hosts_line())
        (folder / "ssh_config").write_text(ssh_config(folder, {"node-01": self.server.port}))

    def _note(self, group: int, begins: bool) -> None:
        self.groups.append((group, begins))

    def command(self, *words: str) -> list[str]:
        return ["ssh", "-F", str(self.folder / "ssh_config"), *words]

    def client(self) -> "AbstractAsyncContextManager[asyncssh.SSHClientConnection]":
        return asyncssh.connect(
            "127.0.0.1",
            self.server.port,
            username="kome",
            client_keys=[self.key],
            known_hosts=str(self.folder / "ssh/known_hosts"),
            config=None,
        )

    async def run(self, script: str, given: bytes = b"") -> "tuple[int, bytes, bytes]":
        child = await asyncio.create_subprocess_exec(
            *self.command("node-01", script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(child.communicate(given), 30)
        assert child.returncode is not None
        return child.returncode, out, err


@asynccontextmanager
async def station(folder: Path) -> AsyncIterator[Station]:
    made = Station(folder)
    await made.server.open()
    try:
        yield made
    finally:
        await made.server.shut_down()


async def until(condition: Callable[[], object]) -> None:
    """Wait in a thread, so that the server in this loop goes on."""
    await asyncio.to_thread(wait_until, condition)


async def test_command_gets_input_and_gives_output_errors_and_exit_code(tmp_path: Path) -> None:
    async with station(tmp_path) as node:
        code, out, err = await node.run("cat; echo bad >&2; exit 7", b"given\n")
    assert (code, out, err) == (7, b"given\n", b"bad\n")


async def test_command_runs_in_its_folder_with_its_own_environment(tmp_path: Path) -> None:
    async with station(tmp_path) as node:
        _, out, _ = await node.run('pwd; echo "$PATH"; echo "${SSH_AUTH_SOCK-none}"')
    assert out.decode().splitlines() == [str(tmp_path), NODE_PATH, "none"]


async def test_megabytes_pass_both_ways_under_back_pressure(tmp_path: Path) -> None:
    async with station(tmp_path) as node:
        code, out, _ = await node.run("cat", MEGABYTES)
    assert code == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(MEGABYTES).digest()


async def test_death_by_signal_is_told(tmp_path: Path) -> None:
    async with station(tmp_path) as node, node.client() as client:
        killed = await client.run("kill -TERM $$", check=False)
        assert killed.exit_signal is not None
        assert killed.exit_signal[0] == "TERM"
        script = "trap 'echo got; exit 5' TERM; echo on; while :; do sleep 0.05; done"
        process = await client.create_process(script)
        assert await process.stdout.readline() == "on\n"
        process.send_signal("TERM")
        done = await asyncio.wait_for(process.wait(), 5)
        assert (done.exit_status, done.stdout) == (5, "got\n")


async def test_lost_client_closes_the_pipes_and_the_command_goes_on(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with station(tmp_path) as node:
        script = f"echo on; cat >/dev/null; echo ended >{mark}"
        client = await asyncio.create_subprocess_exec(
            *node.command("node-01", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert client.stdout is not None
        assert await client.stdout.readline() == b"on\n"
        client.kill()
        await client.wait()
        await until(lambda: mark.exists() and mark.read_text() == "ended\n")
        await until(lambda: node.groups[-1][1] is False)


async def test_background_child_does_not_hold_its_command_up(tmp_path: Path) -> None:
    async with station(tmp_path) as node:
        script = "sleep 60 >/dev/null 2>&1 </dev/null & echo $!"
        code, out, _ = await node.run(script)
        os.kill(int(out), signal.SIGKILL)
    assert code == 0
    assert [begins for _, begins in node.groups] == [True, False]


@contextmanager
def forwarded(node: Station, target: str) -> Iterator[int]:
    """A local port that `ssh -L` forwards to `target` through the node."""
    port = free_port()
    arguments = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:{target}"]
    client = subprocess.Popen(node.command(*arguments, "node-01"), stderr=subprocess.PIPE)
    assert client.stderr is not None
    try:
        yield port
    finally:
        client.terminate()
        client.communicate()


def answer_of(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        line.sendall(b"ping\n")
        return line.recv(100)


def listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


async def test_tcp_is_forwarded_to_loopback(tmp_path: Path) -> None:
    async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            writer.write(b"pong\n")
        writer.close()

    async with station(tmp_path) as node:
        target = await asyncio.start_server(pong, "127.0.0.1", free_port())
        port = target.sockets[0].getsockname()[1]
        with forwarded(node, f"127.0.0.1:{port}") as local:
            await until(lambda: listens(local))
            assert await asyncio.to_thread(answer_of, local) == b"pong\n"
        target.close()
        await target.wait_closed()


@pytest.mark.parametrize("target", ["192.0.2.1", "example.com", "10.0.0.1"])
async def test_tcp_is_forwarded_nowhere_else(tmp_path: Path, target: str) -> None:
    async with station(tmp_path) as node, node.client() as client:
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await client.open_connection(target, 80)
        assert refused.value.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED


async def test_other_keys_are_not_let_in(tmp_path: Path) -> None:
    async with station(tmp_path) as node:
        other = asyncssh.generate_private_key("ssh-ed25519")
        (tmp_path / "ssh/id_ed25519").write_bytes(other.export_private_key())
        code, _, err = await node.run("true")
    assert code == 255
    assert b"Permission denied" in err


async def test_another_host_key_is_not_accepted(tmp_path: Path) -> None:
    async with station(tmp_path) as node:
        other = SshServer(node.key, Shell(tmp_path, {}, lambda group, begins: None))
        line = other.known_hosts_line().split(" ", 1)[1]
        await other.open()
        await other.shut_down()
        known = tmp_path / "ssh/known_hosts"
        known.write_text(f"[127.0.0.1]:{node.server.port} {line}")
        code, _, err = await node.run("true")
    assert code == 255
    assert b"IDENTIFICATION HAS CHANGED" in err


async def test_closed_server_refuses_and_comes_back_with_the_same_key(tmp_path: Path) -> None:
    async with station(tmp_path) as node:
        await node.server.close()
        await node.server.close()
        code, _, err = await node.run("true")
        assert code == 255
        assert b"refused" in err
        await node.server.open()
        await node.server.open()
        assert await node.run("echo back") == (0, b"back\n", b"")
