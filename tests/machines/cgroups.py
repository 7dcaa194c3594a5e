"""Control groups for machines and services: to stop all of one at once, and to end all of it.

A folder per run, named after the run's process; the next run removes those of dead runs. Works
with the unified hierarchy, and with the hybrid one, where systemd also needs its named hierarchy.
"""

import contextlib
import os
import signal
from pathlib import Path

from tests.waiting import wait_until

_MOUNT = Path("/sys/fs/cgroup")
_PREFIX = "kome-machines-"


def writable_roots() -> list[Path]:
    """The hierarchies to be used, the unified one first; empty where they can't be written."""
    if (_MOUNT / "cgroup.procs").exists():
        roots = [_MOUNT]
    else:
        roots = [_MOUNT / "unified", _MOUNT / "systemd"]
    usable = all((root / "cgroup.procs").exists() and os.access(root, os.W_OK) for root in roots)
    return roots if usable and not _read_only(roots[0]) else []


def _read_only(root: Path) -> bool:
    return bool(os.statvfs(root).f_flag & os.ST_RDONLY)


class Group:
    """One control group in each hierarchy."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        for folder in folders:
            folder.mkdir(exist_ok=True)

    def child(self, name: str) -> "Group":
        """A group below this one."""
        return Group([folder / name for folder in self._folders])

    def launch(self, command: list[str]) -> list[str]:
        """The command that runs `command` in this group."""
        script = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift\n'
        return ["sh", "-c", f'{script}exec "$@"', "sh", *map(str, self._folders), "--", *command]

    def processes(self) -> list[int]:
        """All processes in the group and below."""
        found: list[int] = []
        for folder in _tree(self._folders[0]):
            with contextlib.suppress(OSError):  # a group that has gone meanwhile
                found += map(int, (folder / "cgroup.procs").read_text().split())
        return found

    def freeze(self) -> None:
        """Stop every process, as SIGSTOP would, and wait until they stand still."""
        self._set_frozen(1)

    def thaw(self) -> None:
        """Let them go on."""
        self._set_frozen(0)

    def _set_frozen(self, value: int) -> None:
        folder = self._folders[0]
        (folder / "cgroup.freeze").write_text(f"{value}\n")
        wait_until(lambda: f"frozen {value}" in (folder / "cgroup.events").read_text())

    def end(self) -> None:
        """Kill every process of the group, frozen or not, and wait for their end."""

        def none_left() -> bool:
            processes = self.processes()
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            return not processes

        wait_until(none_left, 30)
        self.thaw()  # or the next one to be started here would stand still

    def remove(self) -> None:
        """Remove the group and those below; nothing may run in it."""
        for folder in self._folders:
            _remove(folder)

    def remove_if_empty(self) -> None:
        """Remove the group unless there are groups below it, which are another world's."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


def run_group() -> Group:
    """The group of this run; removes what dead runs left."""
    roots = writable_roots()
    for root in roots:
        for left in root.glob(f"{_PREFIX}*"):
            if not Path("/proc", left.name.removeprefix(_PREFIX)).exists():
                _remove(left)
    return Group([root / f"{_PREFIX}{os.getpid()}" for root in roots])


def _tree(folder: Path) -> list[Path]:
    """A group and those below it, each after what it is in; without those that go meanwhile."""
    return [Path(at) for at, _, _ in os.walk(folder)]


def _remove(folder: Path) -> None:
    """Remove a tree of empty groups. A process that is just ending holds its group a moment."""

    def removed() -> bool:
        for group in reversed(_tree(folder)):
            with contextlib.suppress(OSError):
                group.rmdir()
        return not folder.exists()

    wait_until(removed, 30)
