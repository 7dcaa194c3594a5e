"""Takes turns, prints one table."""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.deploy.fleet import practice
from bench.deploy.others import ANSIBLE, PYINFRA, Ansible, Pyinfra, environment
from bench.deploy.ours import Ours

Rows = dict[str, tuple[Callable[[], float], Callable[[], float]]]
"""A name, how to push something new, and how to push it again."""

Times = dict[str, tuple[list[float], list[float]]]


def take_turns(rows: Rows, rounds: int) -> Times:
    """Seconds of every round, changed and unchanged."""
    times: Times = {name: ([], []) for name in rows}
    for _ in range(rounds):
        for name, (changed, unchanged) in rows.items():
            times[name][0].append(changed())
            times[name][1].append(unchanged())
    return times


def table(times: Times, nodes: int, rounds: int) -> str:
    """Medians, and how many times longer than the first row; ranges in brackets."""
    first = next(iter(times.values()))
    lines = [
        f"{nodes} nodes, median of {rounds} rounds (least-most), seconds",
        f"{'':34}{'changed':>26}{'x':>7}{'unchanged':>26}{'x':>7}",
    ]
    for name, both in times.items():
        cells = ""
        for seen, base in zip(both, first, strict=True):
            middle = statistics.median(seen)
            spread = f"{middle:.3f} ({min(seen):.3f}-{max(seen):.3f})"
            cells += f"{spread:>26}{middle / statistics.median(base):>7.1f}"
        lines.append(f"{name:34}{cells}")
    return "\n".join(lines)


def about() -> str:
    """Versions and load, for whoever reads the table later."""
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.split(",")[0]
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.split("/")[-1]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    cores = os.cpu_count()
    return f"{ssh}, nginx {nginx.strip()}, {ANSIBLE}, {PYINFRA}, {cores} cores, load {load}"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="python -m bench.deploy", description=__doc__)
    options.add_argument("--rounds", type=int, default=5, metavar="N")
    options.add_argument("--nodes", type=int, default=11, metavar="N")
    options.add_argument("--alone", action="store_true", help="without ansible and pyinfra")
    given = options.parse_args()
    started = time.monotonic()
    before = about()
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="kome-bench-", ignore_cleanup_errors=True)
        )
        top = Path(folder)
        ours = Ours(stack.enter_context(practice(top / "ours", given.nodes)))
        stack.callback(ours.close)
        rows: Rows = {
            "kome-tui, connections open": (ours.changed, ours.unchanged),
            "kome-tui, connecting": (ours.changed_cold, ours.unchanged_cold),
            "kome-tui deploy, the command": (ours.changed_command, ours.unchanged_command),
        }
        if not given.alone:
            programs = environment()
            for tool, called in (Ansible, "ansible-core, warm"), (Pyinfra, "pyinfra"):
                for releases in (True, False):
                    folder = top / f"{tool.__name__[0]}{releases:d}"
                    fleet = stack.enter_context(practice(folder, given.nodes))
                    other = tool(fleet, programs, releases=releases)
                    stack.callback(other.close)
                    way = "releases" if releases else "one file"
                    rows[f"{called}, {way}"] = (other.changed, other.unchanged)
        times = take_turns(rows, given.rounds)
    print(table(times, given.nodes, given.rounds))
    print(
        f"rendering {given.nodes} releases: {statistics.median(ours.rendering):.3f}, not in line 1"
    )
    print(f"before: {before}")
    print(f"after {time.monotonic() - started:.0f} s: {about()}")


if __name__ == "__main__":
    main()
