"""One connection against a real SSH server: login, host keys, commands, TCP from the node."""

import asyncio
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from kome_tui.errors import (
    ForwardFailed,
    ForwardForbidden,
    HostKeyChanged,
    HostKeyUnknown,
    NodeTimeout,
    ProtocolError,
    SshAuthFailed,
    SshUnreachable,
)
from kome_tui.fleet import passphrase
from kome_tui.fleet import transport as transport_module
from kome_tui.fleet.connection import Connection
from kome_tui.fleet.hostkeys import load
from kome_tui.fleet.sshconfig import SshTarget, resolve
from kome_tui.topology.model import Endpoint
from tests.fleet_site import Site, keygen, ssh_threads, topology_at
from tests.ssh_server import SshServer, listener
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key pairs: host, host2, host_rsa, user, stranger, locked."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "host2", "user", "stranger"):
        keygen(folder / name)
    keygen(folder / "host_rsa", "rsa")
    keygen(folder / "locked", passphrase="secret word")
    public = [(folder / f"{name}.pub").read_text() for name in ("user", "locked")]
    (folder / "authorized").write_text("".join(public))
    return folder


@pytest.fixture
def site(keys: Path, tmp_path: Path) -> Iterator[Site]:
    server = SshServer([keys / "host", keys / "host_rsa"], keys / "authorized")
    yield Site(tmp_path, server, keys / "user", keys / "host")
    server.close()


@pytest.fixture
def connection(site: Site) -> Iterator[Connection]:
    site.know()
    opened = site.connection()
    opened.open()
    yield opened
    opened.close()


def refused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def local(port: int) -> Endpoint:
    return Endpoint(address="127.0.0.1", port=port)


def test_a_key_file_logs_in_and_a_command_runs(connection: Connection) -> None:
    done = connection.run("cat; echo err >&2; exit 3", b"in", timeout_s=5)
    assert (done.stdout, done.stderr, done.exit_status) == (b"in", b"err\n", 3)


def test_a_key_the_node_does_not_know_is_told_with_its_name(site: Site, keys: Path) -> None:
    site.know()
    site.identity = keys / "stranger"
    with pytest.raises(SshAuthFailed, match=r"kome@127\.0\.0\.1:\d+ \(tried .*stranger\)"):
        site.connection().open()


def test_no_key_at_all(site: Site, tmp_path: Path) -> None:
    site.know()
    site.identity = tmp_path / "missing"
    with pytest.raises(SshAuthFailed, match=r"we have no key .*missing does not exist"):
        site.connection().open()


def test_a_locked_key_without_an_agent_says_what_to_run(site: Site, keys: Path) -> None:
    site.know()
    site.identity = keys / "locked"
    with pytest.raises(SshAuthFailed, match=r"has a passphrase: run ssh-add .*locked"):
        site.connection().open()


def test_a_key_that_others_can_read_is_not_used(site: Site, keys: Path, tmp_path: Path) -> None:
    site.know()
    site.identity = tmp_path / "open"
    site.identity.write_bytes((keys / "user").read_bytes())
    site.identity.chmod(0o644)
    with pytest.raises(SshAuthFailed, match="can be read by others"):
        site.connection().open()


def test_a_key_that_cannot_be_looked_at_is_told(site: Site, tmp_path: Path) -> None:
    """As in a folder of somebody else's; here by a name that no file system takes."""
    site.know()
    site.identity = tmp_path / ("k" * 300)
    assert passphrase.needed(resolve(site.topology(), "front", site.config())) == ()
    with pytest.raises(SshAuthFailed) as caught:
        site.connection().open()
    assert "is not a usable private key" in caught.value.what


def test_a_file_that_is_no_key_is_told(site: Site, tmp_path: Path) -> None:
    site.know()
    site.identity = tmp_path / "junk"
    site.identity.write_bytes(os.urandom(200))
    site.identity.chmod(0o600)
    with pytest.raises(SshAuthFailed, match="junk is not a usable private key"):
        site.connection().open()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """The socket of an agent of our own."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    wait_until(lambda: Path(path).exists())
    yield path
    process.terminate()
    process.wait(5)


def ssh_add(agent: str, key: Path, folder: Path) -> None:
    answer = folder / "askpass"
    answer.write_text("#!/bin/sh\necho secret word\n")
    answer.chmod(0o700)
    env = {**os.environ, "SSH_AUTH_SOCK": agent, "SSH_ASKPASS": str(answer)}
    env |= {"SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", key], env=env, check=True, timeout=10)


def test_the_agent_opens_a_locked_key(site: Site, keys: Path, agent: str, tmp_path: Path) -> None:
    ssh_add(agent, keys / "locked", tmp_path)
    site.know()
    site.identity = keys / "locked"
    site.lines.append(f"  IdentityAgent {agent}")
    opened = site.connection()
    opened.open()
    assert opened.run("echo hi", timeout_s=5).stdout == b"hi\n"
    opened.close()


def test_with_identities_only_the_agents_other_keys_are_not_offered(
    site: Site, keys: Path, agent: str, tmp_path: Path
) -> None:
    ssh_add(agent, keys / "locked", tmp_path)
    site.know()
    site.identity = keys / "stranger"
    site.lines.append(f"  IdentityAgent {agent}")
    with pytest.raises(SshAuthFailed) as caught:
        site.connection().open()
    assert "agent key" not in str(caught.value)


def test_an_unknown_host_key_stops_with_its_fingerprint(site: Site) -> None:
    shown = subprocess.run(
        ["ssh-keygen", "-lf", site.host_key], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    with pytest.raises(HostKeyUnknown) as caught:
        site.connection().open()
    assert (caught.value.key_type, caught.value.fingerprint) == ("ssh-ed25519", shown)
    assert "kome-tui trust front" in str(caught.value)
    assert site.server.logins == 0


def test_a_changed_host_key_stops(site: Site, keys: Path) -> None:
    site.know(keys / "host2")
    with pytest.raises(HostKeyChanged, match=r"known_hosts:1, shown ssh-ed25519 SHA256:") as caught:
        site.connection().open()
    assert caught.value.expected.startswith("ssh-ed25519 SHA256:")
    assert site.server.logins == 0


def test_a_revoked_host_key_stops(site: Site) -> None:
    site.know()
    site.know(marker="@revoked ")
    with pytest.raises(HostKeyChanged, match=r"@revoked in .*known_hosts:2"):
        site.connection().open()


def test_a_certificate_authority_line_does_not_lose_the_rest(site: Site) -> None:
    site.know(marker="@cert-authority ")
    site.know()
    opened = site.connection()
    opened.open()
    opened.close()


@pytest.mark.parametrize("name", ["host", "host_rsa"])
def test_the_key_type_on_record_is_asked_for(site: Site, keys: Path, name: str) -> None:
    site.know(keys / name)
    opened = site.connection()
    opened.open()
    opened.close()


def test_hashed_known_hosts(site: Site) -> None:
    site.know()
    subprocess.run(
        ["ssh-keygen", "-q", "-H", "-f", site.known_hosts], check=True, capture_output=True
    )
    assert "127.0.0.1" not in site.known_hosts.read_text()
    opened = site.connection()
    opened.open()
    opened.close()


def test_the_host_key_can_be_looked_at_without_a_login(site: Site) -> None:
    key = site.connection().host_key()
    assert key.known_as == f"[127.0.0.1]:{site.server.port}"
    assert f"{key.key_type} " in site.public(site.host_key)
    wait_until(lambda: site.server.connections() == 0)


def silent_target(port: int) -> SshTarget:
    return SshTarget("127.0.0.1", port, "kome", 1.0)


def fails_within(limit_s: float, port: int) -> str:
    started = time.monotonic()
    with pytest.raises(SshUnreachable) as caught:
        Connection("front", silent_target(port), load([])).open()
    assert time.monotonic() - started < limit_s
    wait_until(lambda: not ssh_threads())
    return str(caught.value)


def test_a_refused_port_is_told_at_once() -> None:
    assert "connection refused" in fails_within(1.0, refused_port())


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)


async def _banner_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await reader.read(-1)


async def _endless_banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


async def _noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x\r\n" + os.urandom(4096))
    await reader.read(-1)


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 \x1b[2J Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    "behave", [_say_nothing, _banner_only, _endless_banner, _hang_up, _noise, _http]
)
def test_a_server_that_speaks_no_ssh_ends_in_time(behave: object) -> None:
    with listener(behave) as port:  # type: ignore[arg-type]
        said = fails_within(4.0, port)
    assert said.isprintable()


def test_nothing_of_paramiko_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with listener(_hang_up) as port:
        fails_within(4.0, port)
    assert capfd.readouterr().err == ""
    assert logging.getLogger("paramiko").handlers


def test_a_jump_host_carries_the_connection(site: Site) -> None:
    site.know()
    site.lines += [
        f"  ProxyCommand sh -c 'exec ssh -F {site.folder}/jump -W %h:%p jump'",
    ]
    (site.folder / "jump").write_text(
        f"Host jump\n HostName 127.0.0.1\n Port {site.server.port}\n User kome\n"
        f" IdentityFile {site.identity}\n UserKnownHostsFile {site.known_hosts}\n"
    )
    opened = site.connection()
    opened.open()
    assert opened.run("echo through", timeout_s=5).stdout == b"through\n"
    opened.close()
    wait_until(lambda: site.server.connections() == 0)


def test_a_proxy_that_fails_is_told_with_its_words(site: Site) -> None:
    site.lines.append("  ProxyCommand sh -c 'echo no way through >&2; exit 1'")
    with pytest.raises(SshUnreachable, match="no way through"):
        site.connection().open()


def test_eight_megabytes_on_both_streams(connection: Connection) -> None:
    size = 8 << 20
    command = f"head -c {size} /dev/zero >&2 & head -c {size} /dev/zero; wait; echo end >&2"
    done = connection.run(command, timeout_s=60, limit=2 * size)
    assert len(done.stdout) == size
    assert len(done.stderr) == 2048
    assert done.exit_status == 0


def test_eight_megabytes_up_and_down(connection: Connection) -> None:
    sent = os.urandom(1 << 20) * 8
    done = connection.run("cat", sent, timeout_s=60, limit=len(sent))
    assert done.stdout == sent


def test_more_than_the_limit_is_refused(site: Site, connection: Connection) -> None:
    with pytest.raises(ProtocolError, match="more than 1000 bytes"):
        connection.run("head -c 2000000 /dev/zero; sleep 60", timeout_s=5, limit=1000)
    assert connection.run("echo still", timeout_s=5).stdout == b"still\n"


def test_a_command_that_reads_nothing_still_answers(connection: Connection) -> None:
    done = connection.run("exec <&-; echo no; exit 1", b"x" * 4_000_000, timeout_s=10)
    assert (done.stdout, done.exit_status) == (b"no\n", 1)


@pytest.mark.parametrize("command", ["sleep 60", "exec >&- 2>&-; sleep 60", "echo a; sleep 60"])
def test_a_command_beyond_its_deadline_is_a_timeout(connection: Connection, command: str) -> None:
    started = time.monotonic()
    with pytest.raises(NodeTimeout):
        connection.run(command, timeout_s=0.5)
    assert time.monotonic() - started < 2
    assert connection.run("echo still", timeout_s=5).stdout == b"still\n"


def test_a_connection_cut_in_the_middle_ends_the_read(site: Site, connection: Connection) -> None:
    remote = connection.start("echo begun; sleep 60", b"")
    assert remote.read(time.monotonic() + 5) == b"begun\n"
    site.server.drop_connections()
    started = time.monotonic()
    assert remote.read(started + 30) == b""
    assert remote.lost
    assert remote.finish(started + 30) is None
    assert time.monotonic() - started < 5
    assert not connection.alive
    with pytest.raises(SshUnreachable):
        connection.run("echo", timeout_s=5)


def test_closing_a_command_ends_its_input(site: Site, connection: Connection) -> None:
    remote = connection.start("cat", b"x", keep_stdin=True)
    assert remote.read(time.monotonic() + 5) == b"x"
    remote.close()
    wait_until(lambda: site.server.running() == 0)


def test_a_close_from_another_thread_ends_a_read(connection: Connection) -> None:
    remote = connection.start("sleep 60", b"")
    threading.Timer(0.2, remote.close).start()
    started = time.monotonic()
    assert remote.read(started + 30) == b""
    assert time.monotonic() - started < 5


def test_twenty_commands_at_once(connection: Connection) -> None:
    results: list[bytes] = []

    def run(number: int) -> None:
        results.append(connection.run(f"echo {number}", timeout_s=20).stdout)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(int(result) for result in results) == list(range(20))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)


def test_a_tcp_connection_from_the_node(connection: Connection) -> None:
    with listener(_echo) as port:
        channel = connection.open_tcp(local(port), 2.0)
        channel.sendall(b"ping")
        assert channel.recv(10) == b"ping"
        channel.settimeout(0.1)
        with pytest.raises(TimeoutError):
            channel.recv(10)
        channel.close()


def test_a_refused_connection_from_the_node_is_told(connection: Connection) -> None:
    with pytest.raises(ForwardFailed, match=r"refused|Connect call failed") as caught:
        connection.open_tcp(local(refused_port()), 2.0)
    assert caught.value.reason


def test_forwarding_that_sshd_forbids_is_not_a_refusal(site: Site, connection: Connection) -> None:
    site.server.forwarding = False
    with pytest.raises(ForwardForbidden, match="forbids"):
        connection.open_tcp(local(refused_port()), 2.0)


def test_a_target_that_does_not_answer_the_node(site: Site, connection: Connection) -> None:
    site.server.hold_forwards = True
    started = time.monotonic()
    with pytest.raises(ForwardFailed, match=r"no answer in 0\.\d s"):
        connection.open_tcp(local(9), 0.5)
    assert time.monotonic() - started < 2
    assert connection.run("echo still", timeout_s=5).stdout == b"still\n"


def test_a_connection_that_comes_too_late_is_closed_again(
    site: Site, connection: Connection
) -> None:
    opened, closed = threading.Event(), threading.Event()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set()
        await reader.read(-1)
        closed.set()

    with listener(note) as port:
        site.server.hold_forwards = True
        with pytest.raises((ForwardFailed, NodeTimeout)):  # the server may be slow to show life
            connection.open_tcp(local(port), 0.3)
        site.server.hold_forwards = False
        assert opened.wait(20)
        assert closed.wait(20)
    assert connection.alive


def test_a_channel_that_opens_in_the_moment_of_giving_up_is_used(
    site: Site, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = transport_module.NodeTransport.open_channel

    def too_late(self: transport_module.NodeTransport, *given: object, **named: object) -> None:
        _channel = opened(self, *given, **named)  # type: ignore[arg-type]
        raise paramiko.SSHException("Timeout opening channel.")

    monkeypatch.setattr(transport_module.NodeTransport, "open_channel", too_late)
    assert connection.run("echo here", timeout_s=20).stdout == b"here\n"


def test_a_link_that_falls_silent_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "KEEPALIVE_S", 0.2)
    monkeypatch.setattr(transport_module, "SILENCE_LIMIT_S", 0.7)
    monkeypatch.setattr(transport_module, "READ_WAKEUP_S", 0.1)
    frozen = threading.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            while frozen.is_set():
                await asyncio.sleep(0.02)
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", site.server.port)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.close()

    with listener(relay) as port:
        site.lines.append(f"  HostKeyAlias [127.0.0.1]:{site.server.port}")
        site.know()
        target = resolve(topology_at({"front": port}), "front", site.config())
        opened = Connection("front", target, load(target.known_hosts))
        opened.open()
        quiet = time.monotonic()
        wait_until(lambda: time.monotonic() - quiet > 1.0)
        assert opened.alive  # quiet, but it answers keepalives
        remote = opened.start("sleep 60", b"")
        frozen.set()
        assert remote.read(time.monotonic() + 10) == b""
        assert remote.lost
        assert not opened.alive
        opened.close()


def test_failing_and_working_opens_at_once_keep_their_own_errors(connection: Connection) -> None:
    outcomes: list[str] = []
    closed = refused_port()

    def attempt(port: int) -> None:
        try:
            connection.open_tcp(local(port), 10.0).close()
            outcomes.append("opened")
        except ForwardFailed as error:
            outcomes.append("refused" if str(closed) in error.reason else str(error))

    with listener(_echo) as port:
        threads = [
            threading.Thread(target=attempt, args=(port if number % 3 == 0 else closed,))
            for number in range(60)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sorted(outcomes) == ["opened"] * 20 + ["refused"] * 40


def test_closing_leaves_no_thread(site: Site) -> None:
    site.know()
    opened = site.connection()
    opened.open()
    opened.run("true", timeout_s=5)
    opened.close()
    opened.close()
    wait_until(lambda: not ssh_threads())
    wait_until(lambda: site.server.connections() == 0)
