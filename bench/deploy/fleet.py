"""A practice fleet without traffic, behind real SSH servers, and releases without end."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.deploy.sshd import Servers, servers
from kome_tui.topology.load import load, parse
from kome_tui.topology.model import Topology


@dataclass
class Practice:
    """Nodes to push to. `version` n differs from every other n in every node's configuration."""

    folder: Path
    text: str
    topology: Topology
    ssh: Servers

    def written(self, number: int) -> str:
        """topology.yaml of one round."""
        return f"{self.text}\ntimeouts:\n  shutdown: {600 + number}s\n"

    def version(self, number: int) -> Topology:
        """The same, loaded."""
        return parse(self.written(number).encode(), "topology.yaml")


@contextmanager
def practice(folder: Path, nodes: int) -> Iterator[Practice]:
    """A fleet of `nodes` nodes, ended with the block."""
    folder.mkdir()
    lab = folder / "lab"
    command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(lab), "--nodes", str(nodes)]
    with ExitStack() as stack:
        running = stack.enter_context(
            subprocess.Popen(
                [*command, "--no-traffic", "--leash"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(running.terminate)
        assert running.stdout is not None
        if running.stdout.readline().strip() != "ready":
            raise SystemExit("the practice fleet did not start")
        path = lab / "topology.yaml"
        topology = load(path)
        ssh = stack.enter_context(servers(folder / "ssh", tuple(topology.nodes)))
        text = path.read_text().replace("ssh:\n  user: kome\n", f"ssh:\n  user: {ssh.user}\n")
        yield Practice(folder, text, parse(text.encode(), "topology.yaml"), ssh)
