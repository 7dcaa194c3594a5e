"""The command line: everything the console can do, for scripts.

Exit codes: 0 good, 1 the answer is bad, 2 usage or topology wrong, 3 something differs or was
refused. With --json standard output is exactly one JSON object; everything else is standard error.
"""

import sys

from kome_tui.cli import interrupt


def main(argv: list[str] | None = None) -> None:
    """Entry point of `kome-tui`. Ends the process; no traceback unless KOME_DEBUG=1."""
    arguments = sys.argv[1:] if argv is None else argv
    interrupt.leave_at_once(as_json="--json" in arguments)
    from kome_tui.cli.run import run  # most of the first half second, in which Ctrl-C may come

    code = run(arguments)
    interrupt.answer_whole()
    sys.exit(code)


__all__ = ["main"]
