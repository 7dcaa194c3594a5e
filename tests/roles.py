"""Which process of a push is which: the guard is a fork of the runner and looks like it."""

import os
from pathlib import Path
from typing import Literal

Role = Literal["runner", "guard"]

WAKE_FD = 8
"""The runner's, opened before it switches; the guard has not got it, a passing fork has."""


def role_of(pid: int, script: str) -> Role | None:
    """The role of a process in a push by this node script; None for any other process."""
    process = Path(f"/proc/{pid}")
    try:
        command = (process / "cmdline").read_bytes().split(b"\0")
        session = int((process / "stat").read_text().rpartition(") ")[2].split()[3])
        wakeable = (process / f"fd/{WAKE_FD}").is_symlink()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if command[1:3] != [os.fsencode(script), b"runner"]:
        return None
    if session == pid:
        return "runner"
    return None if wakeable else "guard"
