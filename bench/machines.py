"""What one broken node costs the others in a push: eleven real machines, medians of some rounds.

    .venv/bin/python -m bench.machines [ROUNDS]       # as root, in the checkout

Each round pushes a change to all eleven, breaks one, pushes the next change, and mends it: beside
every figure stands the one without the broken node. `seconds` are what the answer says of a node,
`done` is when it had its outcome, counted from the start of the push.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from kome_tui.fleet.fleet import Fleet
from kome_tui.release.deploy import deploy
from kome_tui.release.outcome import Progress
from kome_tui.topology.load import load
from tests.machines.image import machine_image
from tests.machines.lan import Lan
from tests.machines.machine import Machine, MachineSpec
from tests.machines.node import set_up_node
from tests.machines.pushes import want

BROKEN = "node-05"
CASES: dict[str, Callable[[Machine], object]] = {
    "nothing": lambda machine: None,
    "dead": Machine.kill,
    "hung": Machine.freeze,
    "disk full": Machine.fill_disk,
    "host key changed": Machine.change_host_key,
    "changed by hand": lambda machine: machine.run("echo >>/etc/nginx/nginx.conf"),
    "nginx stopped": lambda machine: machine.run("systemctl stop nginx"),
}


@dataclass(frozen=True)
class Push:
    """One push as the worker has seen it; all in seconds."""

    whole: float
    seconds: dict[str, float]
    done: dict[str, float]
    outcomes: dict[str, str]


class Worker:
    """A process in the operator's network that pushes, as the console does: it keeps its fleet."""

    def __init__(self, lan: Lan) -> None:
        operator = lan.operator
        own = [sys.executable, "-m", "bench.machines", "--inside"]
        self._process = subprocess.Popen(
            operator.inside([*own, operator.topology, operator.ssh_config]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def push(self, how: str, topology: Path) -> Push:
        """Push; `how` is cold, with connections of its own, or warm."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(how, topology, file=self._process.stdin, flush=True)
        return Push(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def work(topology: Path, ssh_config: Path) -> None:
    """The worker: a line with how and what on standard input, a Push as JSON on its output."""
    with Fleet(load(topology), ssh_config) as warm:
        for line in sys.stdin:
            how, path = line.split()
            if how == "warm":
                print(json.dumps(one_push(warm, Path(path))), flush=True)
            else:
                with Fleet(load(topology), ssh_config) as cold:
                    print(json.dumps(one_push(cold, Path(path))), flush=True)


def one_push(fleet: Fleet, path: Path) -> dict[str, object]:
    """The fields of a Push."""
    topology, done = load(path), {}
    started = time.monotonic()

    def report(progress: Progress) -> None:
        if progress.outcome is not None:
            done[progress.node] = time.monotonic() - started

    names = tuple(topology.nodes)
    seen = deploy(topology, fleet, names, report=report, stop=threading.Event())
    return {
        "whole": seen.seconds,
        "seconds": {name: node.seconds for name, node in seen.nodes.items()},
        "done": done,
        "outcomes": {name: node.outcome for name, node in seen.nodes.items()},
    }


def measure(lan: Lan, worker: Worker, how: str, case: str, rounds: int) -> str:
    """One line of the table."""
    pairs = []
    for _ in range(rounds):
        worker.push(how, next_topology(lan))  # whoever was mended is connected again
        healthy = worker.push(how, next_topology(lan))
        CASES[case](lan[BROKEN])
        pairs.append((healthy, worker.push(how, next_topology(lan))))
        lan.reset([BROKEN])
    others = [name for name in pairs[0][0].seconds if name != BROKEN]

    def cells(measured: Callable[[Push], float]) -> str:
        before, after = (
            statistics.median(measured(push) for push in pushes)
            for pushes in zip(*pairs, strict=True)
        )
        return f"{before:>8.2f} {after:>7.2f} {after / before:>5.2f}"

    own = statistics.median(broken.seconds[BROKEN] for _, broken in pairs)
    whole = cells(lambda push: push.whole)
    seconds = cells(lambda push: statistics.median(push.seconds[name] for name in others))
    done = cells(lambda push: statistics.median(push.done[name] for name in others))
    last = pairs[-1][1].outcomes
    told = f"{last[BROKEN]}, {'/'.join(sorted({last[name] for name in others}))}"
    return f"{how:<5} {case:<17}{own:>7.2f}{whole}{seconds}{done}  {told}"


NUMBERS = count(11)


def next_topology(lan: Lan) -> Path:
    """One that no node has seen."""
    want(lan, next(NUMBERS))
    return Path(lan.operator.topology)


def main() -> None:
    """Boot, measure every case cold and warm, print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="kome-bench-") as folder, machine_image() as image:
        os.environ["HOME"] = folder  # nobody's own known_hosts or ssh configuration takes part
        with Lan(image, Path(folder) / "lan", spec=MachineSpec("serving")) as lan:
            lan.each(lambda machine: set_up_node(machine, lan.topology))
            lan.each(Machine.keep)
            lan.boot()
            print(f"11 machines, {BROKEN} broken, median of {rounds} rounds, seconds;")
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            print(f"{'':23}{'its':>7}{'whole push':>22}{'others: seconds':>22}{'others: done':>22}")
            print(f"{'':23}{'own':>7}" + f"{'before':>8} {'then':>7} {'x':>5}" * 3)
            for how in ("cold", "warm"):
                for case in CASES:
                    with closing(Worker(lan)) as worker:
                        print(measure(lan, worker, how, case, rounds), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
