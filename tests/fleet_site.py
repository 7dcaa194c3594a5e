"""A small site for tests of fleet/: keys made by ssh-keygen, an SSH server, a topology for it."""

import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from kome_tui.fleet.connection import Connection
from kome_tui.fleet.fleet import Fleet
from kome_tui.fleet.hostkeys import load
from kome_tui.fleet.sshconfig import resolve
from kome_tui.topology.model import Topology
from tests.ssh_server import SshServer


def ssh_threads() -> list[threading.Thread]:
    """Threads that a connection has started and that still run."""
    kinds = (paramiko.Transport, threading.Timer)
    return [thread for thread in threading.enumerate() if isinstance(thread, kinds)]


def keygen(path: Path, key_type: str = "ed25519", passphrase: str = "") -> Path:
    """A fresh key pair; gives the private file."""
    bits = ["-b", "2048"] if key_type == "rsa" else []
    command = ["ssh-keygen", "-q", "-t", key_type, *bits, "-N", passphrase, "-C", "t", "-f", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=30)
    return path


def topology_at(ports: dict[str, int], script: str = "/tmp/none", **ssh: object) -> Topology:
    """A topology whose nodes are on loopback; `ports` are their SSH ports."""
    service = {"address": "127.0.0.1", "port": 9}
    names = ("okome", "vllm", "ollama", "tf-rest", "tf-grpc", "redis")
    nodes = {
        name: {
            "role": "frontend" if number == 0 else "ingress",
            "address": "127.0.0.1",
            "ssh": {"user": "kome", "port": port, "connect_timeout": "2s", **ssh},
        }
        for number, (name, port) in enumerate(ports.items())
    }
    return Topology.model_validate(
        {
            "lan": ["127.0.0.0/8"],
            "upstreams": dict.fromkeys(names, service),
            "layout": {"script": script, "root": "none"},
            "nodes": nodes,
        }
    )


@dataclass
class Site:
    """One server, the files to reach it, and what to say to it."""

    folder: Path
    server: SshServer
    identity: Path
    host_key: Path
    lines: list[str] = field(default_factory=list)
    """More lines for the SSH configuration."""

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def script(self) -> Path:
        return self.folder / "kome-node"

    def public(self, key: Path) -> str:
        """Type and base64 of a key's public half."""
        return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])

    def know(self, key: Path | None = None, marker: str = "") -> None:
        """Write the server's key (or `key`) to known_hosts."""
        line = f"{marker}[127.0.0.1]:{self.server.port} {self.public(key or self.host_key)}\n"
        with self.known_hosts.open("a") as file:
            file.write(line)

    def topology(self, names: tuple[str, ...] = ("front",), **ssh: object) -> Topology:
        """Nodes that are all this one server."""
        ports = dict.fromkeys(names, self.server.port)
        return topology_at(ports, str(self.script), **ssh)

    def config(self) -> Path:
        """The SSH configuration file, written as things stand now."""
        path = self.folder / "ssh_config"
        lines = [
            "Host *",
            f"  IdentityFile {self.identity}",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {self.known_hosts}",
            "  GlobalKnownHostsFile /dev/null",
            *self.lines,
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    def fleet(self, names: tuple[str, ...] = ("front",), **ssh: object) -> Fleet:
        """A fleet of nodes that are all this server."""
        return Fleet(self.topology(names, **ssh), self.config())

    def connection(self) -> Connection:
        """A connection to the server, not opened."""
        target = resolve(self.topology(), "front", self.config())
        return Connection("front", target, load(target.known_hosts))

    def answer(self, text: str) -> None:
        """Make the node's script a shell script that begins by reading the request line."""
        self.script.write_text(f"IFS= read -r request\n{text}\n")
