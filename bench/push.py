"""How long a push takes on a practice fleet of 11 nodes: medians of several rounds in one run.

    .venv/bin/python bench/push.py [ROUNDS]

`changed` alternates between two topologies that differ in every node; all waves, both proofs and
the confirms are inside. Connections are warm, as while the console runs, except for `cold`.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kome_tui.fleet.fleet import Fleet
from kome_tui.release.deploy import deploy
from kome_tui.topology.load import load, parse
from kome_tui.topology.model import Topology


def push(topology: Topology, fleet: Fleet, wanted: str) -> float:
    """One push to every node; seconds. Ends the run where a node did not become `wanted`."""
    started = time.monotonic()
    report = deploy(
        topology, fleet, tuple(topology.nodes), report=lambda _: None, stop=threading.Event()
    )
    took_s = time.monotonic() - started
    outcomes = {seen.outcome for seen in report.nodes.values()}
    if outcomes != {wanted}:
        raise SystemExit(f"expected {wanted}: {report}")
    return took_s


def median_of(rounds: int, work: Callable[[int], float]) -> float:
    """Median of `rounds` results of work(round)."""
    return statistics.median(work(number) for number in range(rounds))


def measure(folder: Path, rounds: int) -> None:
    """Print the medians."""
    path = folder / "topology.yaml"
    one = load(path)
    text = path.read_text()
    two = parse(f"{text}\ntimeouts:\n  shutdown: 601s\n".encode(), "two.yaml")
    config = folder / "ssh_config"

    def cold(_: int) -> float:
        with Fleet(one, config) as fleet:
            return push(one, fleet, "unchanged")

    with Fleet(one, config) as fleet:
        push(one, fleet, "committed")
        unchanged = median_of(rounds, lambda _: push(one, fleet, "unchanged"))
        changed = median_of(rounds, lambda number: push((two, one)[number % 2], fleet, "committed"))
        push(one, fleet, "committed" if rounds % 2 else "unchanged")
    print(f"11 nodes, median of {rounds} rounds, seconds")
    print(f"changed, warm    {changed:.3f}")
    print(f"unchanged, warm  {unchanged:.3f}")
    print(f"unchanged, cold  {median_of(rounds, cold):.3f}")


def main() -> None:
    """Start a practice fleet without traffic, measure, end it."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory(prefix="kome-bench-", ignore_cleanup_errors=True) as top:
        folder = Path(top) / "lab"
        command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(folder), "--no-traffic"]
        with subprocess.Popen(
            [*command, "--leash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as lab:
            assert lab.stdout is not None
            if lab.stdout.readline().strip() != "ready":
                raise SystemExit("the practice fleet did not start")
            try:
                measure(folder, rounds)
            finally:
                lab.terminate()


main()
