"""What the command line prints: one JSON object on standard output, or lines for people."""

import json
import sys
from collections.abc import Mapping

from kome_tui.cli import interrupt

SCHEMA = 1


def say(line: str) -> None:
    """One line on standard error: progress, notes and errors. Whole, whichever thread says it."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def show(line: str = "") -> None:
    """One line of the answer, for people."""
    print(line)


def write_json(answer: Mapping[str, object]) -> None:
    """The answer of a command with --json. Whole: Ctrl-C comes too late from here on."""
    interrupt.answer_whole()
    print(json.dumps({"schema": SCHEMA, **answer}, ensure_ascii=False))


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """Ask on the terminal; only `y` or `yes` is a yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
