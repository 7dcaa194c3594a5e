"""A lab's hold on its folder: one lab per folder, and nothing left behind whatever ends it.

The reaper runs before the first folder is made, and the marker names the lab's pid only after
everything that is not a lab's was refused: that order decides what a reaper may remove.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from kome_tui.errors import LabError
from kome_tui.lab import cleanup
from kome_tui.lab.control import record_path
from kome_tui.topology.grammar import PATH

PATIENCE_S = 5.0
_DEEPEST = "nodes/node-99/etc/nginx/mime.types"
_POLL_S = 0.05


class Claim:
    """The folder, taken. Use it as a context manager: leaving it ends and removes everything."""

    def __init__(self, directory: Path) -> None:
        """Take the folder and clear a dead lab's leftovers out of it. Raises LabError."""
        self.folder = _usable(directory)
        self._groups: set[int] = set()
        self._made: list[Path] = []
        self._reaper = _start_reaper(self.folder)
        try:
            self._take()
        except OSError as error:
            cleanup.remove_folders(self._made)
            self._dismiss_reaper()
            raise LabError(f"cannot use {self.folder}: {error.strerror}") from error
        except LabError:
            self._dismiss_reaper()
            raise

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        cleanup.forget(record_path(self.folder), self.folder)
        cleanup.clean_up(self.folder, self._groups, self._made)
        self._dismiss_reaper()
        os.close(self._lock)

    def groups(self) -> frozenset[int]:
        """The process groups that have not ended yet."""
        return frozenset(self._groups)

    def note_group(self, group: int, begins: bool) -> None:
        """A process group was started, or its first process has ended.

        A group counts until all of it has ended; after that its number may become somebody else's.
        """
        for other in tuple(self._groups):
            if not _group_lives(other):
                self._groups.discard(other)
                self._tell(f"-{other}")
        if begins:
            self._groups.add(group)
            self._tell(f"+{group}")

    def _take(self) -> None:
        self._tell(f"folder {self.folder}")
        self._make_folder()
        self._lock = _locked(self.folder)
        before = cleanup.marked(self.folder)
        if os.fstat(self._lock).st_size:
            self._sweep(before)
        try:
            _refuse_strangers(self.folder)
        except LabError:
            cleanup.remove_marker(self.folder, self._made)
            os.close(self._lock)
            raise
        mark = {"pid": os.getpid(), "made": [str(path) for path in self._made]}
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps(mark).encode(), 0)

    def _make_folder(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        for path in missing:
            self._note_made(path)
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)

    def _note_made(self, path: Path) -> None:
        self._made.append(path)
        self._tell(f"made {path}")

    def _sweep(self, before: dict[str, object]) -> None:
        """Clear out what a lab left whose reaper was killed too. The marker stays, and the lock."""
        made = before.get("made")
        for text in made if isinstance(made, list) else []:
            self._note_made(Path(str(text)))
        cleanup.end_processes(self.folder, frozenset())
        cleanup.remove_files(self.folder)

    def _tell(self, word: str) -> None:
        assert self._reaper.stdin is not None
        with contextlib.suppress(OSError):  # a reaper that was killed is not needed to go on
            self._reaper.stdin.write(f"{word}\n".encode())
            self._reaper.stdin.flush()

    def _dismiss_reaper(self) -> None:
        self._tell("done")
        assert self._reaper.stdin is not None
        with contextlib.suppress(OSError):
            self._reaper.stdin.close()
        self._reaper.wait()


def _start_reaper(folder: Path) -> "subprocess.Popen[bytes]":
    program = Path(__file__).with_name("reaper.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(program), str(os.getpid()), str(record_path(folder))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and a closed terminal are not for it
    )


def _usable(directory: Path) -> Path:
    folder = Path(os.path.realpath(directory))
    if not PATH.match(f"{folder}/{_DEEPEST}"):
        raise LabError(
            f"{folder} cannot hold a lab",
            hint="its path may have A-Z a-z 0-9 _ . - in each part, and about 10 parts",
        )
    return folder


def _locked(folder: Path) -> int:
    """The marker file, open and locked. Raises LabError when a lab has it."""
    marker = folder / cleanup.MARKER
    deadline = time.monotonic() + PATIENCE_S
    while True:
        fd = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who had it may have removed the file between our open and our lock.
            with contextlib.suppress(FileNotFoundError):
                if marker.stat().st_ino == os.fstat(fd).st_ino:
                    return fd
        except BlockingIOError:
            mark = cleanup.marked(folder)
            if cleanup.CLEANING not in mark or time.monotonic() > deadline:
                os.close(fd)
                raise LabError(
                    f"a lab is running in {folder} already (pid {mark.get('pid', 'unknown')})",
                    hint="use another --dir, or end that one",
                ) from None
        os.close(fd)
        time.sleep(_POLL_S)  # the one who has it removes it; PATIENCE_S is the limit


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS: the latter for a group of zombies
        return False
    return True


def _refuse_strangers(folder: Path) -> None:
    """A topology.yaml or a folder `nodes` that no lab made is somebody's work: leave it alone."""
    names = [n for n in (*cleanup.FILES, *cleanup.FOLDERS) if (folder / n).exists()]
    if names:
        raise LabError(f"{folder / names[0]} exists and is no lab's", hint="use an empty --dir")
