"""What the command line prints: one JSON object on standard output, or lines for people."""

import json
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from kome_tui.cli import interrupt
from kome_tui.errors import KomeError

SCHEMA = 1


class Unwritten(KomeError):
    """Standard output takes nothing: a full disk."""


def say(line: str) -> None:
    """One line on standard error: progress, notes and errors. Whole, whichever thread says it.

    Where its reader has gone (`2>&1 | head`, a closed terminal) the work goes on: a push that dies
    of its progress lines would report no node.
    """
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:
        nobody_reads(sys.stderr)


def show(line: str = "") -> None:
    """One line of the answer, for people. Raises Unwritten, or BrokenPipeError as in `| head`."""
    _print(line)


def write_json(answer: Mapping[str, object]) -> None:
    """The answer of a command with --json. Whole: Ctrl-C comes too late from here on."""
    interrupt.answer_whole()
    _print(json.dumps({"schema": SCHEMA, **answer}, ensure_ascii=False))


def finish() -> None:
    """Get out what was shown. Raises as show()."""
    _print("", end="", flush=True)


def _print(text: str, *, end: str = "\n", flush: bool = False) -> None:
    try:
        print(text, end=end, flush=flush)
    except BrokenPipeError:
        raise
    except OSError as error:
        nobody_reads(sys.stdout)
        raise Unwritten(f"the answer cannot be written: {error.strerror}") from error


def nobody_reads(stream: TextIO) -> None:
    """From now on what is written there goes nowhere, instead of failing at every flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> bool:
    """Ask on the terminal; only `y` or `yes` is a yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
