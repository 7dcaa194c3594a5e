"""One real OpenSSH server per node, on loopback ports that were free a moment ago; ended by pid."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = "/usr/sbin/sshd"
START_S = 20.0
# SHLVL: else bash, run by sshd, reads the user's .bashrc for every command of every tool.
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxSessions {sessions}
MaxStartups 200
SetEnv SHLVL=2
Subsystem sftp internal-sftp
PrintMotd no
LogLevel ERROR
"""
CLIENT = """\
Host {name}
    HostName 127.0.0.1
    Port {port}
"""
CLIENT_ALL = """\
Host *
    User {user}
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
"""


@dataclass(frozen=True)
class Servers:
    """SSH servers by node, and the OpenSSH configuration that leads to them."""

    ports: dict[str, int]
    config: Path
    key: Path
    known_hosts: Path
    user: str


@contextmanager
def servers(folder: Path, names: Sequence[str], sessions: int = 50) -> Iterator[Servers]:
    """A server for each of `names`, with so many sessions a connection.

    Raises SystemExit where sshd does not start.
    """
    folder.mkdir()
    for key in ("host_key", "user_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", folder / key],
            check=True,
        )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd's privilege separation wants it
    user = os.environ.get("USER") or Path.home().owner()
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    known = (folder / "host_key.pub").read_text().strip().rsplit(" ", 1)[0]
    lines = (f"[127.0.0.1]:{port} {known}\n" for port in ports.values())
    (folder / "known_hosts").write_text("".join(lines))
    blocks = (CLIENT.format(name=name, port=port) for name, port in ports.items())
    text = "\n".join((*blocks, CLIENT_ALL.format(user=user, folder=folder)))
    (folder / "ssh_config").write_text(text)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, port in ports.items():
            config = folder / f"sshd_{name}"
            config.write_text(CONFIG.format(port=port, folder=folder, sessions=sessions))
            started.append(subprocess.Popen([SSHD, "-D", "-f", config, "-E", folder / "log"]))
        for port in ports.values():
            _wait_for(port, folder / "log")
        config_file = folder / "ssh_config"
        yield Servers(ports, config_file, folder / "user_key", folder / "known_hosts", user)
    finally:
        for server in started:
            server.terminate()
        for server in started:
            server.wait(10)


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)  # it is about to listen; the deadline above ends this
        else:
            return
    raise SystemExit(f"sshd does not answer on port {port}: {log.read_text()[-500:]}")
