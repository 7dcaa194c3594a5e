"""`python -m kome_tui.lab --dir DIR [--nodes N]`: the practice fleet without the console."""

import argparse
import sys
from pathlib import Path

from kome_tui.errors import KomeError


def main() -> int:
    """Run the lab until it is interrupted; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kome_tui.lab", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, metavar="DIR", help="its folder")
    parser.add_argument("--nodes", type=int, default=11, metavar="N", help="how many nodes")
    parser.add_argument("--no-traffic", action="store_true", help="send no requests of its own")
    parser.add_argument(
        "--leash", action="store_true", help="also end when standard input reaches its end"
    )
    given = parser.parse_args()
    try:
        from kome_tui.lab.run import run_headless

        return run_headless(given.dir, given.nodes, traffic=not given.no_traffic, leash=given.leash)
    except KomeError as error:
        print(f"kome-tui lab: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # before run_headless took over the signals: nothing was made
        return 130


if __name__ == "__main__":
    sys.exit(main())
