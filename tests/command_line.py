"""Runs kome-tui as an operator's shell does: a process of its own, exit code and both outputs."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 60


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def kome_tui(
    *arguments: str | Path,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    typed: str | None = None,
) -> Ran:
    """Run one command in `cwd`, with `typed` on standard input (nothing: no input at all)."""
    done = subprocess.run(
        [sys.executable, "-m", "kome_tui", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def interrupted(*arguments: str | Path, cwd: Path, after: str) -> Ran:
    """Run one command and send it Ctrl-C once it has said `after` on standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "kome_tui", *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if after in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in said + err
    return Ran(process.returncode, out, said + err)
