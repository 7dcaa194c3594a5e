"""Outlives a lab that was killed: `python reaper.py LAB_PID RECORD`, its input a pipe from the lab.

It is told which folder the lab takes (`folder`), which folders it makes on the way (`made`), and
which process groups begin (+N) and end (-N). `done`: the lab has cleaned up itself. The end of
input without it: the lab died, and this process cleans up in its place.
"""

import fcntl
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType


def main() -> None:
    """Wait for the lab's end, whatever it is."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lab_pid, record = int(sys.argv[1]), Path(sys.argv[2])
    folder: Path | None = None
    made: list[Path] = []
    groups: set[int] = set()
    for line in sys.stdin:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "done":
            return
        if word == "folder":
            folder = Path(rest)
        elif word == "made":
            made.append(Path(rest))
        elif word[:1] == "+":
            groups.add(int(word[1:]))
        elif word[:1] == "-":
            groups.discard(int(word[1:]))
    if folder is not None:
        _take_over(folder, made, groups, lab_pid, record)


def _take_over(
    folder: Path, made: list[Path], groups: set[int], lab_pid: int, record: Path
) -> None:
    cleanup = _beside("cleanup")
    try:
        lock = os.open(folder / cleanup.MARKER, os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another lab has the folder: ours was refused, or that one has cleaned up already
    except OSError:
        cleanup.remove_marker(folder, made)
        return
    pid = cleanup.marked(folder).get("pid")
    if pid == lab_pid:
        mark = {**cleanup.marked(folder), cleanup.CLEANING: True}
        (folder / cleanup.MARKER).write_text(json.dumps(mark))
        cleanup.forget(record, folder)
        cleanup.clean_up(folder, groups, made)
    elif pid is None:  # it died before it had made anything: whatever lies there is not ours
        cleanup.remove_marker(folder, made)


def _beside(name: str) -> ModuleType:
    """The module next to this file, without its package and what that would import."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
