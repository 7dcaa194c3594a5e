"""The options before the command, and what they stand for.

The topology in the package points at addresses that are someone else's on a stranger's LAN: it
serves commands that touch no network, and others only when it is named.
"""

import difflib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import typer
from platformdirs import user_config_path

from kome_tui.cli.output import say
from kome_tui.errors import RefusedError, UsageError
from kome_tui.text import for_fleet
from kome_tui.topology.load import load, packaged_file
from kome_tui.topology.model import Topology

LAB_FLEET = "lab"

NO_TOPOLOGY = (
    "no topology.yaml: name one with -t FILE or KOME_TOPOLOGY, or try the practice fleet with"
    " `kome-tui lab`, or start from the example: `kome-tui example > topology.yaml`"
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the command."""

    topology: Path | None
    ssh_config: Path | None
    read_only: bool

    def find_topology(self) -> Path | None:
        """The file to use, or None where the operator has none of their own."""
        if self.topology is not None:
            return self.topology
        named = os.environ.get("KOME_TOPOLOGY")
        if named:
            return Path(named)
        own = (Path("topology.yaml"), user_config_path("kome") / "topology.yaml")
        return next((path for path in own if path.is_file()), None)

    def load(self, *, touches_network: bool) -> tuple[Topology, Path]:
        """The topology and its file. Raises UsageError without one, TopologyError for a bad one."""
        path = self.find_topology()
        if path is None:
            if touches_network:
                raise UsageError(NO_TOPOLOGY)
            path = packaged_file("topology.yaml")
            say(f"there is no topology.yaml of your own: this is about the example, {path}")
        topology = load(path)
        if touches_network:
            from kome_tui.cli.passphrase import ask_for_passphrase

            ask_for_passphrase(topology, self.ssh_config)
        return topology, path

    @property
    def command(self) -> str:
        """What a command about the same fleet begins with, to be pasted in any folder."""
        words = ["kome-tui"]
        named = self.topology or os.environ.get("KOME_TOPOLOGY")
        if named:
            words += ["-t", str(Path(named).absolute())]
        if self.ssh_config is not None:
            words += ["--ssh-config", str(self.ssh_config.absolute())]
        return shlex.join(words)

    def for_fleet(self, words: str) -> str:
        """A reason or a hint, whose commands are then about this fleet."""
        return for_fleet(words, self.command)

    def refuse_if_read_only(self) -> None:
        """Raises RefusedError under --read-only."""
        if self.read_only:
            raise RefusedError("refused: --read-only allows no change")


@dataclass(slots=True)
class Asked:
    """What the operator has asked for, as far as it was read."""

    options: Options | None = None

    def for_fleet(self, words: str) -> str:
        """`words` about the fleet of the options; as they stand where none were read."""
        return self.options.for_fleet(words) if self.options is not None else words


def options_of(context: typer.Context) -> Options:
    """The options that stood before the command."""
    asked = context.find_object(Asked)
    assert asked is not None
    assert asked.options is not None
    return asked.options


def chosen(topology: Topology, names: list[str] | None) -> tuple[str, ...]:
    """The nodes named, or all. Raises UsageError for a name the topology does not have."""
    if not names:
        return tuple(topology.nodes)
    for name in names:
        if name not in topology.nodes:
            near = difflib.get_close_matches(name, topology.nodes, 1)
            hint = f"did you mean {near[0]}" if near else f"there are: {', '.join(topology.nodes)}"
            raise UsageError(f"no node is called {name!r}", hint=hint)
    return tuple(dict.fromkeys(names))
