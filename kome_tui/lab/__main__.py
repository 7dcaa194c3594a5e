"""`python -m kome_tui.lab --dir DIR [--nodes N]`: the practice fleet without the console."""

import os
import signal
import sys


def main() -> int:
    """Run the lab until it is interrupted; the exit code."""
    # Before the imports that take long: a KeyboardInterrupt in one of them would be a traceback.
    signal.signal(signal.SIGINT, _leave_at_once)
    import argparse
    from pathlib import Path

    from kome_tui.errors import KomeError

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


def _leave_at_once(*_: object) -> None:
    """Until run_headless takes the signals over, nothing was made that would have to be undone."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
