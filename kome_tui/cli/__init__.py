"""The command line: everything the console can do, for scripts.

Exit codes: 0 good, 1 the answer is bad, 2 usage or topology wrong, 3 something differs or was
refused. With --json standard output is exactly one JSON object; everything else is standard error.
"""

from kome_tui.cli.main import main

__all__ = ["main"]
