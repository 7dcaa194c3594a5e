"""The nodes' SSH servers: one process, one port and one host key per node.

A command behaves as under OpenSSH: a client that goes away closes its pipes and nothing more. The
pumps are our own, because asyncssh's redirect() drops the whole connection under back-pressure.
"""

import asyncio
import contextlib
import ipaddress
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from kome_tui.lab.ports import port_of, reserve

CHUNK = 65536
LOGIN_S = 20

OnGroup = Callable[[int, bool], None]
"""Told of every process group that starts (True), and when its first process has ended (False)."""


@dataclass(frozen=True, slots=True)
class Shell:
    """Where and how a node runs its commands."""

    cwd: Path
    environment: Mapping[str, str]
    on_group: OnGroup


class SshServer:
    """One node's SSH server, which can be closed and opened again on the same port."""

    def __init__(self, client_key: asyncssh.SSHKey, shell: Shell) -> None:
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._client_key = client_key.convert_to_public().export_public_key()
        self._shell = shell
        self._bound = reserve()
        self.port = port_of(self._bound)
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[_Connection] = set()
        self._commands: set[asyncio.Task[None]] = set()

    def known_hosts_line(self) -> str:
        """The host key as a line of known_hosts."""
        key = self._host_key.convert_to_public().export_public_key().decode().split()
        return f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n"

    async def open(self) -> None:
        """Accept connections. Opening twice is harmless."""
        if self._acceptor is not None:
            return
        self._acceptor = await asyncssh.listen(
            sock=self._bound,
            server_factory=lambda: _Connection(self),
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(self._client_key.decode()),
            process_factory=self._start,
            encoding=None,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            compression_algs=None,
            gss_host=None,
            login_timeout=LOGIN_S,
        )

    async def close(self) -> None:
        """Refuse connections and drop those there are. Commands go on, as on a real host."""
        if self._acceptor is None:
            return
        self._acceptor.close()
        self._acceptor = None
        self._bound = reserve(self.port)
        for connection in tuple(self._connections):
            connection.drop()

    async def shut_down(self) -> None:
        """Close for good, and no longer wait for commands: whoever calls ends them."""
        await self.close()
        self._bound.close()
        commands = tuple(self._commands)
        for command in commands:
            command.cancel()
        await asyncio.gather(*commands, return_exceptions=True)

    def joined(self, connection: "_Connection") -> None:
        """A client has connected."""
        self._connections.add(connection)

    def left(self, connection: "_Connection") -> None:
        """A client has gone."""
        self._connections.discard(connection)

    def _start(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.ensure_future(_run(process, self._shell))
        self._commands.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._commands.discard(task)
        if not task.cancelled():
            task.result()


class _Connection(asyncssh.SSHServer):
    """One client of one node."""

    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def begin_auth(self, username: str) -> bool:
        return True

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        """Forward TCP to this machine and nowhere else."""
        try:
            if ipaddress.ip_address(dest_host).is_loopback:
                return True
        except ValueError:
            pass
        raise asyncssh.ChannelOpenError(
            asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "the lab forwards to loopback only"
        )


async def _run(process: asyncssh.SSHServerProcess[bytes], shell: Shell) -> None:
    """Run the command of one session to its end, whether the client stays or not."""
    command = ("-c", process.command) if process.command else ()
    ours, theirs = _pipes()
    try:
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            *command,
            stdin=theirs[0],
            stdout=theirs[1],
            stderr=theirs[2],
            cwd=shell.cwd,
            env=dict(shell.environment),
            start_new_session=True,
        )
    except OSError as error:
        _close(ours)
        process.stderr.write(f"cannot start /bin/sh: {error.strerror}\n".encode())
        process.exit(255)
        return
    finally:
        _close(theirs)
    shell.on_group(child.pid, True)
    try:
        await _attend(process, child, ours)
        await child.wait()
    finally:
        shell.on_group(child.pid, False)


async def _attend(
    process: asyncssh.SSHServerProcess[bytes],
    child: asyncio.subprocess.Process,
    ours: tuple[int, int, int],
) -> None:
    """Carry bytes until the command has ended and closed its pipes, or the client is gone."""
    loop = asyncio.get_running_loop()
    stdin, closers = await _writer(loop, ours[0]), []
    readers = []
    for fd in ours[1:]:
        reader = asyncio.StreamReader(limit=CHUNK)
        transport, _ = await loop.connect_read_pipe(
            lambda reader=reader: asyncio.StreamReaderProtocol(reader),  # type: ignore[misc]
            os.fdopen(fd, "rb", 0),
        )
        readers.append(reader)
        closers.append(transport)

    async def finish() -> None:
        await asyncio.gather(
            _pump_out(readers[0], process.stdout),
            _pump_out(readers[1], process.stderr),
            child.wait(),
        )
        code = child.returncode or 0
        if code < 0:
            process.exit_with_signal(_signal_name(-code))
        else:
            process.exit(code)

    feeding = asyncio.ensure_future(_pump_in(process, stdin, child.pid))
    finishing = asyncio.ensure_future(finish())
    gone = asyncio.ensure_future(process.channel.wait_closed())
    try:
        await asyncio.wait({finishing, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (feeding, finishing, gone):
            task.cancel()
        stdin.close()
        for transport in closers:
            transport.close()
        await asyncio.gather(feeding, finishing, gone, return_exceptions=True)


async def _pump_in(
    process: asyncssh.SSHServerProcess[bytes], stdin: asyncio.StreamWriter, group: int
) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            try:
                data = await process.stdin.read(CHUNK)
            except asyncssh.SignalReceived as received:
                _send_signal(group, received.signal)
                continue
            except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
                continue
            if not data:
                break
            stdin.write(data)
            await stdin.drain()
    stdin.close()


async def _pump_out(reader: asyncio.StreamReader, writer: asyncssh.SSHWriter[bytes]) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


async def _writer(loop: asyncio.AbstractEventLoop, fd: int) -> asyncio.StreamWriter:
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(fd, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Our ends and the command's ends of its standard input, output and error."""
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    return (stdin[1], stdout[0], stderr[0]), (stdin[0], stdout[1], stderr[1])


def _close(fds: tuple[int, int, int]) -> None:
    for fd in fds:
        os.close(fd)


def _send_signal(group: int, name: str) -> None:
    number = getattr(signal, f"SIG{name}", None)
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"SIG{number}@kome"
