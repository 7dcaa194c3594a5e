"""Which processes a lab has, seen from outside: by parent, by group and by command line."""

import subprocess
from pathlib import Path


def table() -> list[tuple[int, int, int, str]]:
    """pid, parent, group and command of every process that is not a zombie."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,pgid=,stat=,command="],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    ).stdout
    rows = []
    for line in listed.splitlines():
        pid, parent, group, state, command = line.split(None, 4)
        if not state.startswith("Z"):
            rows.append((int(pid), int(parent), int(group), command))
    return rows


def lab_pids(lab_pid: int, directory: Path) -> set[int]:
    """The lab, what descends from it, what names its folder, and the groups of all those."""
    rows = [row for row in table() if not row[3].startswith(("ps ", "ssh "))]
    found = {pid for pid, _, _, command in rows if pid == lab_pid or f"{directory}/" in command}
    found |= {pid for pid, _, _, command in rows if command.endswith(f"{directory}")}
    while True:
        groups = {group for pid, _, group, _ in rows if pid in found and group == pid}
        more = {pid for pid, parent, group, _ in rows if parent in found or group in groups}
        if more <= found:
            return found
        found |= more


def alive(pids: set[int]) -> dict[int, str]:
    """Those of `pids` that still run, with their commands."""
    return {pid: command for pid, _, _, command in table() if pid in pids}
