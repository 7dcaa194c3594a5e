"""A real SSH server on loopback for tests: commands through /bin/sh, TCP forwarding by policy.

It runs in a thread with a loop of its own. Pumps are written by hand: asyncssh's redirect() drops
the connection under back-pressure.
"""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncssh

T = TypeVar("T")
CHUNK = 64 * 1024


class SshServer:
    """One server on a port of its own; `commands` are those it has run, in order.

    `options` are asyncssh.create_server's, such as the ciphers it offers.
    """

    def __init__(
        self, host_keys: list[Path], authorized: Path, port: int = 0, **options: Any
    ) -> None:
        self.port = port
        self.offers_passwords = False
        self.passwords: list[str] = []
        """Passwords that a client has tried."""
        self._options = options
        self.commands: list[str] = []
        self.forwarding = True
        self.hold_forwards = False
        """Leave requests for a TCP connection without an answer."""
        self.environment: dict[str, str] = {}
        self.logins = 0
        self._host_keys = [str(path) for path in host_keys]
        self._authorized = str(authorized)
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._processes: set[asyncio.subprocess.Process] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="ssh-server", daemon=True
        )
        self._thread.start()
        self._acceptor = self._call(self._listen())
        self.port = self._acceptor.get_port()

    def drop_connections(self) -> None:
        """Cut every connection, without a goodbye."""
        self._call(self._drop())

    def running(self) -> int:
        """Commands that have not ended."""
        return len(self._processes)

    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def close(self) -> None:
        """End everything, the thread included."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            lambda: _Policy(self),
            "127.0.0.1",
            self.port,
            server_host_keys=self._host_keys,
            authorized_client_keys=self._authorized,
            process_factory=self._run,
            encoding=None,
            keepalive_interval=0,
            **self._options,
        )

    async def _drop(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()

    async def _close(self) -> None:
        self._acceptor.close()
        await self._drop()
        for process in tuple(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        while self._processes or self._connections:
            await asyncio.sleep(0.01)
        await self._acceptor.wait_closed()

    async def _run(self, remote: asyncssh.SSHServerProcess[bytes]) -> None:
        command = remote.command or ""
        self.commands.append(command)
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self.environment},
        )
        self._processes.add(process)
        assert process.stdin
        assert process.stdout
        assert process.stderr
        work = [
            asyncio.ensure_future(_feed(remote.stdin, process.stdin)),
            asyncio.ensure_future(_pump(process.stdout, remote.stdout)),
            asyncio.ensure_future(_pump(process.stderr, remote.stderr)),
        ]
        ended = asyncio.ensure_future(self._exit(remote, process, work[1:]))
        gone = asyncio.ensure_future(remote.channel.wait_closed())
        try:
            await asyncio.wait([ended, gone], return_when=asyncio.FIRST_COMPLETED)
            for number in range(3):  # as sshd: its pipes close, the process itself is not killed
                pipe = process._transport.get_pipe_transport(number)  # type: ignore[attr-defined]
                pipe.close()
            await process.wait()
        finally:
            for task in (*work, ended, gone):
                task.cancel()
            await asyncio.gather(*work, ended, gone, return_exceptions=True)
            process._transport.close()  # type: ignore[attr-defined]  # else a pipe outlives it
            self._processes.discard(process)

    async def _exit(
        self,
        remote: asyncssh.SSHServerProcess[bytes],
        process: asyncio.subprocess.Process,
        pumps: list[asyncio.Future[None]],
    ) -> None:
        await asyncio.gather(*pumps)
        status = await process.wait()
        with contextlib.suppress(OSError, asyncssh.Error):
            remote.exit(status if status >= 0 else 255)


class _Policy(asyncssh.SSHServer):
    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._connection
        self._server._connections.discard(self._connection)

    def password_auth_supported(self) -> bool:
        return self._server.offers_passwords

    def validate_password(self, username: str, password: str) -> bool:
        self._server.passwords.append(password)
        return False

    def auth_completed(self) -> None:
        self._server.logins += 1

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Any:
        if self._server.hold_forwards:
            return self._hold(dest_host, dest_port)
        if (
            not self._server.forwarding
        ):  # OpenSSH's code and text; asyncssh's own False says "refused"
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed"
            )
        return True

    async def _hold(self, host: str, port: int) -> Any:
        while self._server.hold_forwards:
            await asyncio.sleep(0.02)
        assert self._connection
        return await self._connection.forward_connection(host, port)


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()


async def _pump(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()


@contextlib.contextmanager
def listener(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> Iterator[int]:
    """A plain TCP server with `serve` per connection; gives its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    tasks: set[asyncio.Task[Any]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    async def stop(server: asyncio.Server) -> None:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    server = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(guarded, "127.0.0.1", 0), loop
    ).result(5)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
