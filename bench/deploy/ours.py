"""Our own pushes: in one process with warm connections, cold, and as a command from nothing."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.deploy.fleet import Practice
from kome_tui.fleet.fleet import Fleet
from kome_tui.nginx.rendered import release_of
from kome_tui.release.deploy import deploy
from kome_tui.topology.model import Topology

COMMAND_LIMIT_S = 120
READY_S = 0.05
"""For one script to start."""


class Ours:
    """Pushes to one practice fleet; the results are seconds. One that went wrong ends the run."""

    def __init__(self, practice: Practice) -> None:
        self._practice = practice
        self._number = 0
        self._topology = practice.topology
        self.rendering: list[float] = []
        """What it took to render a topology's releases."""
        self._warm = Fleet(practice.topology, practice.ssh.config)
        self.changed()  # the first push also keeps what the nodes served before

    def changed(self) -> float:
        """All nodes get a release that they never had.

        The releases are rendered before, as in the console, which shows their ids.
        """
        self._next()
        started = time.monotonic()
        for name in self._topology.nodes:
            release_of(self._topology, name)
        self.rendering.append(time.monotonic() - started)
        self._make_ready()
        return _push(self._topology, self._warm, "committed")

    def unchanged(self) -> float:
        """All nodes serve theirs already."""
        self._make_ready()
        return _push(self._topology, self._warm, "unchanged")

    def changed_cold(self) -> float:
        """As changed, rendering and connecting included."""
        self._next()
        return self._cold("committed")

    def unchanged_cold(self) -> float:
        """As unchanged, connecting included."""
        return self._cold("unchanged")

    def changed_command(self) -> float:
        """As changed, by the command line: starting Python and connecting included."""
        self._next()
        return self._command("committed")

    def unchanged_command(self) -> float:
        """As unchanged, by the command line."""
        return self._command("unchanged")

    def close(self) -> None:
        """End the warm connections."""
        self._warm.close()

    def _make_ready(self) -> None:
        """Have a script wait on every node, as one does while the console is open; not measured."""
        for name in self._topology.nodes:
            self._warm.node(name).make_ready()
        time.sleep(READY_S * len(self._topology.nodes))  # else what is measured is their start

    def _next(self) -> None:
        self._number += 1
        self._topology = self._practice.version(self._number)

    def _cold(self, wanted: str) -> float:
        started = time.monotonic()
        with Fleet(self._topology, self._practice.ssh.config) as fleet:
            _push(self._topology, fleet, wanted)
        return time.monotonic() - started

    def _command(self, wanted: str) -> float:
        path = self._practice.folder / "topology.yaml"
        path.write_text(self._practice.written(self._number))
        program = Path(sys.executable).with_name("kome-tui")
        command: list[str | Path] = [program, "-t", path, "--ssh-config", self._practice.ssh.config]
        started = time.monotonic()
        done = subprocess.run(
            [*command, "deploy", "--json"], capture_output=True, timeout=COMMAND_LIMIT_S
        )
        took_s = time.monotonic() - started
        outcomes = {seen["outcome"] for seen in json.loads(done.stdout)["nodes"].values()}
        if outcomes != {wanted}:
            raise SystemExit(f"expected {wanted}: {done.stdout.decode()}")
        return took_s


def _push(topology: Topology, fleet: Fleet, wanted: str) -> float:
    started = time.monotonic()
    names = tuple(topology.nodes)
    report = deploy(topology, fleet, names, report=lambda _: None, stop=threading.Event())
    took_s = time.monotonic() - started
    outcomes = {seen.outcome for seen in report.nodes.values()}
    if outcomes != {wanted}:
        raise SystemExit(f"expected {wanted}: {report}")
    return took_s
