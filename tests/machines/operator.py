"""The operator's laptop on the LAN: a network namespace, a key, an ssh_config, and kome-tui.

Its commands are ordinary processes of this computer in that network: a signal sent to one reaches
it, and its files are ordinary files. What they can reach is the LAN and nothing else.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.command_line import Ran
from tests.machines.image import CHECKOUT
from tests.machines.world import World

LIMIT_S = 120.0
TOPOLOGY = CHECKOUT / "topology.yaml"
"""The shipped one: the addresses of the LAN."""

_SSH_CONFIG = """Host *
    User kome
    IdentityFile {folder}/operator
    IdentitiesOnly yes
    IdentityAgent none
    PreferredAuthentications publickey
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ControlMaster no
    ControlPath none
"""


class Operator:
    """Made by Lan."""

    def __init__(self, world: World, folder: Path, topology: Path) -> None:
        self.folder = folder
        self.topology = topology
        """What kome-tui is told to read; a test that pushes something else puts its own here."""
        self.ssh_config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self._world = world
        self.ssh_config.write_text(_SSH_CONFIG.format(folder=folder))

    def know(self, host_keys: Mapping[str, str]) -> None:
        """Write known_hosts: the host key of each address, and no other."""
        lines = [f"{address} {key}\n" for address, key in host_keys.items()]
        self.known_hosts.write_text("".join(lines))

    def inside(self, command: Sequence[str | Path]) -> list[str]:
        """The command that runs `command` in the operator's network, with the same process id."""
        network = self._world.network("operator")
        return ["nsenter", f"--net={network}", "--", *map(str, command)]

    def kome_tui_command(self, *arguments: str | Path) -> list[str]:
        """The command that runs kome-tui with `topology` and the ssh_config of the LAN."""
        options: list[str | Path] = ["-t", self.topology, "--ssh-config", self.ssh_config]
        return self.inside([sys.executable, "-m", "kome_tui", *options, *arguments])

    def kome_tui(
        self,
        *arguments: str | Path,
        typed: str | None = None,
        environment: Mapping[str, str] | None = None,
        limit_s: float = LIMIT_S,
    ) -> Ran:
        """Run a kome-tui command and wait for its end; `typed` is its standard input."""
        ran = self._run(self.kome_tui_command(*arguments), typed, environment, limit_s)
        assert "Traceback" not in ran.err, ran.err
        return ran

    def start_kome_tui(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """Start a kome-tui command; what it prints can be read from its pipes."""
        return subprocess.Popen(
            self.kome_tui_command(*arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str | Path, typed: str | None = None, limit_s: float = LIMIT_S) -> Ran:
        """Run any command in the operator's network."""
        return self._run(self.inside(command), typed, None, limit_s)

    def ssh(
        self, address: str, command: str, *, user: str = "kome", typed: str | None = None
    ) -> Ran:
        """Run a command on a machine through OpenSSH."""
        login: list[str | Path] = [
            "ssh",
            "-F",
            self.ssh_config,
            "-o",
            "ConnectTimeout=5",
            "-l",
            user,
            address,
        ]
        return self.run(*login, command, typed=typed)

    def http(self, address: str, path: str = "/", port: int = 80) -> Ran:
        """GET a page with a time limit of 5 s; `out` is the head and the body as they came."""
        request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        script = f"exec 3<>/dev/tcp/{address}/{port} && cat >&3 && cat <&3"
        return self.run("timeout", "5", "bash", "-c", script, typed=request)

    def _run(
        self,
        command: list[str],
        typed: str | None,
        environment: Mapping[str, str] | None,
        limit_s: float,
    ) -> Ran:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **(environment or {})},
            input=typed,
            stdin=subprocess.DEVNULL if typed is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)
