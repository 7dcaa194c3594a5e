"""Runs the command line and turns every error into one clear line and an exit code."""

import contextlib
import os
import sys

import typer
from typer.exceptions import TyperException

from kome_tui.cli.app import app
from kome_tui.cli.interrupt import INTERRUPTED
from kome_tui.cli.options import Asked
from kome_tui.cli.output import Unwritten, finish, nobody_reads, say, write_json
from kome_tui.errors import KomeError, bug_line


def run(argv: list[str]) -> int:
    """Run one command and return its exit code."""
    asked = Asked()
    try:
        result = app(argv, prog_name="kome-tui", standalone_mode=False, obj=asked)
        code = result if isinstance(result, int) else 0
        finish()
        # Typer makes this code of a KeyboardInterrupt, and says nothing.
        return _fail(argv, "interrupted", code) if code == INTERRUPTED else code
    except typer.Exit as ended:
        return ended.exit_code
    except TyperException as error:
        return _fail(argv, error.format_message(), 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail(argv, "interrupted", INTERRUPTED)
    except KomeError as error:
        if os.environ.get("KOME_DEBUG") == "1":
            raise
        return _fail(argv, asked.for_fleet(str(error)), error.exit_code)
    except BrokenPipeError:
        nobody_reads(sys.stdout)  # as in `| head`: not an error
        return 0
    except Exception as error:
        # The one place where a bug becomes a line instead of a traceback.
        if os.environ.get("KOME_DEBUG") == "1":
            raise
        return _fail(argv, bug_line(error), 1)


def _fail(argv: list[str], line: str, code: int) -> int:
    say(line)
    if "--json" in argv:
        with contextlib.suppress(OSError, Unwritten):  # then the line above has to do
            write_json({"error": line})
            finish()
    return code
