"""Programs that a practice node finds in its PATH where this machine lacks the original.

Linked to nothing: each runs alone under `python -I -S`, with the standard library only.
"""

import os
import shlex
import sys
from pathlib import Path

from kome_tui.lab.programs import find_program

HERE = Path(__file__).parent
PROGRAMS = ("flock", "setsid", "sha256sum")
UPTIME = "uptime-s"
"""No system has it: kome-node asks it for the seconds since boot where there is no /proc/uptime."""


def write_standins(folder: Path) -> tuple[str, ...]:
    """Put what this machine lacks into `folder`; the names of what was put there."""
    wanted = [name for name in PROGRAMS if find_program(name) is None]
    without = os.environ.get("KOME_LAB_WITHOUT", "").split(",")
    if not Path("/proc/uptime").exists() or UPTIME in without:
        wanted.append(UPTIME)
    for name in wanted:
        program = HERE / f"{name.replace('-', '_')}.py"
        starter = folder / name
        words = " ".join(shlex.quote(word) for word in (sys.executable, "-I", "-S", str(program)))
        starter.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        starter.chmod(0o755)
    return tuple(wanted)
