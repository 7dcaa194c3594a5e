"""The command line: everything the console can do, for scripts.

Exit codes: 0 good, 1 the answer is bad, 2 usage or topology wrong, 3 something differs or was
refused. With --json standard output is exactly one JSON object; everything else is standard error.
"""

import os
import sys

from kome_tui.cli import interrupt


def main(argv: list[str] | None = None) -> None:
    """Entry point of `kome-tui`. Ends the process; no traceback unless KOME_DEBUG=1."""
    _open_what_is_closed()
    arguments = sys.argv[1:] if argv is None else argv
    interrupt.leave_at_once(as_json="--json" in arguments)
    from kome_tui.cli.run import run  # most of the first half second, in which Ctrl-C may come

    code = run(arguments)
    interrupt.answer_whole()
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Started with `>&-` or `2>&-` there is no stream, and a socket would get its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


__all__ = ["main"]
