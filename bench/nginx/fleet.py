"""What the benches share: a scripted OKOME, rendered nodes in front of it, and how figures look."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kome_tui.signals.gaps import percentile
from kome_tui.topology.model import Topology
from tests.builders_topology import local_values
from tests.nginx_process import Build, Nginx, builds, node_running
from tests.ports import free_port

TOP = Path(__file__).resolve().parents[2]
NO_LIMITS = {"rate": 1_000_000, "burst": 1_000_000, "cached_rate": 1_000_000}
LIMITS = {**NO_LIMITS, "cached_burst": 1_000_000}


@dataclass(frozen=True, slots=True)
class Fleet:
    """What runs: OKOME's port, the nodes by name, and the folder of it all."""

    okome: int
    nodes: dict[str, Nginx]
    build: Build
    folder: Path

    def port(self, name: str) -> int:
        """Where a node answers."""
        return self.nodes[name].port


@contextmanager
def fleet(names: Sequence[str], build: Build, seed: int, **over: Any) -> Iterator[Fleet]:
    """Run the nodes called `names` (tests/builders_topology.py) in front of a scripted OKOME."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kome-bench-")))
        okome = stack.enter_context(_okome(seed))
        ports = {name: free_port() for name in names}
        layout = {**build.layout, "workers": "auto", **over.pop("layout", {})}
        values = local_values(folder, ports, okome, layout, **{"limits": LIMITS, **over})
        topology = Topology.model_validate(values)
        nodes = {name: stack.enter_context(node_running(topology, name, build)) for name in names}
        yield Fleet(okome, nodes, build, folder)


@contextmanager
def _okome(seed: int) -> Iterator[int]:
    with child("okome", str(seed), stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def child(module: str, *args: str, **more: Any) -> subprocess.Popen[str]:
    """Start a module of this package in a process of its own, its output to be read."""
    command = [sys.executable, "-m", f"bench.nginx.{module}", *args]
    return subprocess.Popen[str](command, stdout=subprocess.PIPE, text=True, cwd=TOP, **more)


def said(process: subprocess.Popen[str], within_s: float) -> Any:
    """The JSON of the last line of a child, once it has ended. Ends the run where it failed."""
    try:
        text = process.communicate(timeout=within_s)[0]
    finally:
        process.kill()
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    return json.loads(text.splitlines()[-1])


def quantile(values: Sequence[float], percent: float) -> float:
    """The percentile; there must be values."""
    found = percentile(values, percent)
    assert found is not None
    return found


def over_rounds(rounds: Sequence[Sequence[float]], percent: float) -> float:
    """The median over the rounds of a percentile within each."""
    return median(quantile(values, percent) for values in rounds)


def options(about: str | None) -> argparse.ArgumentParser:
    """The arguments that every bench has."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nginx", help="version; default is the system's")
    parser.add_argument(
        "--first",
        action="store_true",
        help="all of it before other programs (SCHED_RR, as root): for a busy machine",
    )
    return parser


def chosen(args: argparse.Namespace) -> Build:
    """The build that was asked for; from now on first in line, where that was asked for."""
    if args.first:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    return build_named(args.nginx)


def heading(what: str, build: Build, seed: int) -> str:
    """What was measured, on what, when."""
    day = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{what}\n{day}, seed {seed}, nginx {build.version}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {load()}"
        f"{', run before other programs' if os.sched_getscheduler(0) == os.SCHED_RR else ''}"
    )


def load() -> str:
    """How busy the machine is with other things, and with this."""
    return f"load average {os.getloadavg()[0]:.2f}"


def build_named(version: str | None) -> Build:
    """The build of this version; the first of this machine where none is named."""
    for build in builds():
        if version in (None, build.version):
            return build
    raise SystemExit(f"no nginx {version}; there are {', '.join(map(str, builds()))}")
