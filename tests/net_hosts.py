"""Hosts on a LAN of their own: network namespaces joined by one cable, gone with the test."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.host_programs import program

PEER = Path(__file__).parent / "net_peer.py"


@dataclass(frozen=True, slots=True)
class Host:
    """One network namespace. It lives as long as the process that holds it."""

    holder: int
    stack: ExitStack

    def command(self, *words: str) -> list[str]:
        """The command that runs `words` in here."""
        return [program("nsenter"), "-t", f"{self.holder}", "-n", *words]

    def run(self, *words: str) -> str:
        """Run a program in here; what it printed. It must succeed."""
        ran = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def peer(self, *words: str) -> str:
        """One question of net_peer.py; its answer."""
        return self.run(sys.executable, f"{PEER}", *words).strip()

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """A server of net_peer.py, killed with the test; its lines are its standard output."""
        command = self.command(sys.executable, f"{PEER}", *words)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.stack.callback(_end, process)
        return process


@contextmanager
def two_hosts(first: tuple[str, ...], second: tuple[str, ...]) -> Iterator[tuple[Host, Host]]:
    """Two hosts with these addresses (each with its prefix length), and a cable between them."""
    with ExitStack() as stack:
        hosts = [_host(stack), _host(stack)]
        ends = ("peer", "name", "eth0", "netns", f"{hosts[1].holder}")
        hosts[0].run(program("ip"), "link", "add", "eth0", "type", "veth", *ends)
        for host, addresses in zip(hosts, (first, second), strict=True):
            for address in addresses:
                nodad = ("nodad",) if ":" in address else ()
                host.run(program("ip"), "address", "add", address, "dev", "eth0", *nodad)
            for device in ("lo", "eth0"):
                host.run(program("ip"), "link", "set", device, "up")
        yield hosts[0], hosts[1]


def _host(stack: ExitStack) -> Host:
    # ends with its standard input, so that a test that is killed leaves nothing behind
    holder = subprocess.Popen(
        [program("unshare"), "--net", "sh", "-c", "echo up; read _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(_end, holder)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    return Host(holder.pid, stack)


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate(timeout=20)
