"""Ends every process of a lab and removes its files. Run by the lab itself, by its reaper, and at
the next start in the same folder.

Standard library only, and no import of ours: the reaper runs this file alone. A process is ended
by its pid, and only if it descends from this lab: its pid file, its script or its process group.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARKER = ".kome-lab"
CLEANING = "cleaning"
"""Stands in the marker while a reaper has the folder: a new lab may wait for it."""
FILES = ("topology.yaml", "ssh_config", "control")
FOLDERS = ("nodes", "redis", "ssh", "bin")

GENTLE_S = 3.0
LIMIT_S = 10.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """One line of ps."""

    pid: int
    parent: int
    group: int
    command: str

    @property
    def kind(self) -> str:
        """`nginx`, `redis`, or `other`: a script and what it runs."""
        words = self.command.split()
        program = words[0].rpartition("/")[2]
        if program in ("nginx", "nginx:"):
            return "nginx"
        is_redis = program.startswith("redis") or any(w.endswith("/fake_redis.py") for w in words)
        return "redis" if is_redis else "other"

    @property
    def is_master(self) -> bool:
        """An nginx that is no worker or cache process; before it has its title it is one too."""
        first = self.command.split()[:2]
        return self.kind == "nginx" and (first[0] != "nginx:" or first[1:] == ["master"])


def clean_up(folder: Path, groups: Iterable[int], made: Iterable[Path]) -> None:
    """End the lab's processes and remove its files; the marker, which holds the lock, goes last.

    `made` are the folders that the lab made for itself, the innermost first.
    """
    end_processes(folder, frozenset(groups))
    remove_files(folder)
    remove_marker(folder, made)


def remove_files(folder: Path) -> None:
    """Remove what a lab makes, except its marker."""
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def remove_marker(folder: Path, made: Iterable[Path]) -> None:
    """Give the folder back, and remove it if the lab made it and nobody else uses it."""
    (folder / MARKER).unlink(missing_ok=True)
    remove_folders(made)


def remove_folders(made: Iterable[Path]) -> None:
    """Remove folders that are empty, the innermost first, up to the first that is not."""
    with contextlib.suppress(OSError):  # somebody put a file of their own there: it stays
        for path in made:
            path.rmdir()


def marked(folder: Path) -> dict[str, object]:
    """What the marker says: `pid` of the lab and the folders it `made`; empty when it is empty."""
    try:
        said = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def forget(record: Path, folder: Path) -> None:
    """Remove the note that this lab was started, and the folders of such notes once empty."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads(record.read_text())["directory"] == str(folder):
            record.unlink()
    remove_folders(record.parents[:2])


def end_processes(folder: Path, groups: frozenset[int]) -> None:
    """End them: first what would start nginx again, then nginx masters and Redis, then the rest."""
    begun = time.monotonic()
    known = groups
    quiet = 0
    while quiet < 2 and time.monotonic() - begun < LIMIT_S:
        found = processes_of(folder, known)
        quiet = 0 if found else quiet + 1
        # What was seen once is followed by its group, should it lose its parent meanwhile.
        known |= {process.group for process in found if process.pid == process.group}
        _end(found, gently=time.monotonic() - begun < GENTLE_S)
        time.sleep(_POLL_S)


def processes_of(folder: Path, groups: frozenset[int]) -> list[Process]:
    """The lab's processes: by script, by pid file, by process group, and all their descendants."""
    table = {process.pid: process for process in _processes()}
    nodes = f"{re.escape(str(folder))}/nodes/"
    named = re.compile(
        rf"(\S*sh( -\S+)*|\S*(setsid|flock)( \S+)*) {nodes}[^/ ]+/kome-node\b"
        rf"|(nginx: master process )?\S*nginx\b.* -c {nodes}"
    )
    by_pid_file = _pid_files(folder)
    ours = {
        pid
        for pid, process in table.items()
        if named.match(process.command)
        or process.group in groups
        or by_pid_file.get(pid) == process.kind
    }
    while True:
        leaders = {pid for pid in ours if table[pid].group == pid}
        more = {
            pid
            for pid, process in table.items()
            if process.parent in ours or process.group in leaders
        }
        if more <= ours:
            break
        ours |= more
    ours -= {os.getpid(), os.getppid()}
    return [table[pid] for pid in ours]


def _end(found: list[Process], gently: bool) -> None:
    scripts = [process for process in found if process.kind == "other"]
    for process in scripts:
        _signal(process.pid, signal.SIGKILL)
    if scripts and gently:
        return  # they could have started another nginx: look again before nginx is stopped
    masters = {process.pid for process in found if process.is_master}
    for process in found:
        if process.kind == "redis" or process.is_master:
            _signal(process.pid, signal.SIGTERM if gently else signal.SIGKILL)
        elif process.parent not in masters or not gently:
            # A worker whose master lives would only be started again.
            _signal(process.pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _processes() -> list[Process]:
    columns = ["pid=", "ppid=", "pgid=", "stat=", "command="]
    command = ["ps", "-axww", *(word for column in columns for word in ("-o", column))]
    try:
        listed = subprocess.run(command, capture_output=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = []
    for line in listed.decode(errors="replace").splitlines():
        fields = line.split(None, 4)
        if len(fields) == 5 and not fields[3].startswith("Z"):
            pid, parent, group = (int(field) for field in fields[:3])
            found.append(Process(pid, parent, group, fields[4]))
    return found


def _pid_files(folder: Path) -> dict[int, str]:
    """Pids of the lab's pid files, and the kind that each must be."""
    files = [(path, "nginx") for path in folder.glob("nodes/*/run/nginx.pid")]
    files.append((folder / "redis" / "redis.pid", "redis"))
    found = {}
    for path, word in files:
        with contextlib.suppress(OSError, ValueError):
            found[int(path.read_text())] = word
    return found
