"""python -m trials: run the parts named (all of them without a name), print one table.

Exit 1 when a promise was broken, or when the control without fsync found nothing.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.node_machine import Machine
from trials.consoles import two_consoles
from trials.interruptions import confirmed_and_lost, interruptions, runner_deaths
from trials.powercuts import power_cuts
from trials.steps import every_step
from trials.tally import Tally, table

PARTS = ("interruptions", "steps", "confirmed", "runner", "consoles", "cuts")


def main() -> int:
    """Run, print, and say whether every promise held."""
    parser = argparse.ArgumentParser(prog="python -m trials", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; none: all")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--interruptions", type=int, default=1000, metavar="N")
    parser.add_argument("--confirmed", type=int, default=500, metavar="N")
    parser.add_argument("--runner", type=int, default=100, metavar="N")
    parser.add_argument("--consoles", type=int, default=100, metavar="N")
    parser.add_argument("--cuts", type=int, default=300, metavar="N")
    parser.add_argument("--control", type=int, default=40, metavar="N", help="cuts without fsync")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    tallies: list[Tally] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kome-trials-") as name:
        folder = Path(name)
        for part in parts:
            print(f"{part} ...", file=sys.stderr, flush=True)
            done = run(part, folder / part, options)
            tallies += done
            print(table(done), file=sys.stderr, flush=True)
    version = subprocess.run(
        [Machine.nginx_program(), "-v"], capture_output=True, text=True
    ).stderr.strip()
    print(f"seed {options.seed}, {version.rpartition(': ')[2]}, {platform.release()}")
    print(table(tallies))
    print(f"{time.monotonic() - began:.0f} s in all")
    return 0 if all(tally.holds for tally in tallies) else 1


def run(part: str, folder: Path, options: argparse.Namespace) -> list[Tally]:
    """One part, by its name."""
    match part:
        case "interruptions":
            return list(interruptions(folder, options.interruptions, options.seed))
        case "steps":
            return [every_step(folder)]
        case "confirmed":
            return [confirmed_and_lost(folder, options.confirmed, options.seed)]
        case "runner":
            return [runner_deaths(folder, options.runner, options.seed)]
        case "consoles":
            return [two_consoles(folder, options.consoles, options.seed)]
        case _:
            return [
                power_cuts(folder / "with", options.cuts, options.seed),
                power_cuts(folder / "without", options.control, options.seed, fsync=False),
            ]


if __name__ == "__main__":
    sys.exit(main())
