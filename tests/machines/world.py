"""A private world: its own processes, mounts and networks, all gone when the test run is.

Every program of the LAN runs in one process namespace whose first process (keeper.py) lives on a
pipe from the test run. So there is no clean-up that a kill -9 of the run could prevent; only empty
control groups stay, which the next run removes. /run is a file system of the world's own: network
namespaces, disks and mount points are below it and nowhere else.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.machines.cgroups import Group, run_group

RUN = Path("/run")
COMMAND_S = 60.0
_KEEPER = Path(__file__).with_name("keeper.py")
# A disk that another test has mounted, and the file it lies in, would be in use as long as this is.
_WITHOUT_DISKS_OF_OTHERS = """
mounts=$(cat /proc/self/mountinfo)
while read -r _ _ _ _ at rest; do
    case "$at $rest" in
        "$1"/*" /dev/loop"*) umount --lazy "$at" 2>/dev/null || ! mountpoint -q "$at" ;;
    esac
done <<END
$mounts
END
"""
_UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]


class CommandFailed(AssertionError):
    """A command of the infrastructure failed; the text has its output."""


class World:
    """Use it as a context manager."""

    def __init__(self) -> None:
        self._outer: subprocess.Popen[bytes] | None = None
        self._keeper = 0
        self._started: list[subprocess.Popen[bytes]] = []
        self._run_group: Group | None = None
        self.group: Group

    def __enter__(self) -> "World":
        self._outer = subprocess.Popen(
            [*_UNSHARE, sys.executable, "-I", "-S", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the tests: they take the world down in order
        )
        assert self._outer.stdout is not None
        try:
            if self._outer.stdout.readline() != b"ready\n":
                raise CommandFailed("the world's first process did not start")
            (self._keeper,) = children(self._outer.pid)
            self._run_group = run_group()
            self.group = self._run_group.child(str(self._keeper))
            self.sh(_WITHOUT_DISKS_OF_OTHERS, tempfile.gettempdir())
            self.sh("mount -t tmpfs -o mode=755 world /run && mkdir -m 700 /run/netns")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._outer is not None
        assert self._outer.stdin is not None
        assert self._outer.stdout is not None
        self._outer.stdin.close()
        self._outer.stdout.close()
        try:
            self._outer.wait(30)
        finally:
            self._outer.kill()
        for process in self._started:
            process.wait(30)
        if self._run_group is not None:
            self.group.remove()
            self._run_group.remove_if_empty()

    def inside(self, command: list[str], network: str | None = None) -> list[str]:
        """The command that runs `command` in the world, in the network namespace `network`."""
        enter = ["nsenter", "--target", str(self._keeper), "--mount", "--pid"]
        if network is not None:
            enter.append(f"--net={self.network(network)}")
        return [*enter, "--", *command]

    def network(self, name: str) -> Path:
        """A network namespace of the world, as a file that can be opened from outside."""
        return self.path(RUN / "netns" / name)

    def path(self, inside: Path) -> Path:
        """A path of the world, as seen from outside. Absolute links in it lead astray."""
        return Path(f"/proc/{self._keeper}/root{inside}")

    def sh(self, script: str, *arguments: str | Path, stdin: bytes | None = None) -> str:
        """Run a shell script in the world; its output. Raises CommandFailed."""
        command = self.inside(["sh", "-eu", "-c", script, "sh", *map(str, arguments)])
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise CommandFailed(f"exit {done.returncode} of: {script.strip()}\n{said}")
        return done.stdout.decode(errors="replace")

    def start(
        self, command: list[str], group: Group, network: str | None, console: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        """Start a program in the world that goes on; what it says goes to `console`."""
        process = subprocess.Popen(
            group.launch(self.inside(command, network)),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
        self._started.append(process)
        return process


def children(process: int) -> list[int]:
    """The processes that `process` has started and that still run."""
    try:
        return [int(pid) for pid in _task(process).read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _task(process: int) -> Path:
    return Path(f"/proc/{process}/task/{process}/children")


def listens(process: int, port: int) -> bool:
    """Whether anything in the network namespace of `process` accepts TCP connections at `port`."""
    wanted = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            return False
        rows = (line.split() for line in lines)
        if any(row[1].endswith(wanted) and row[3] == "0A" for row in rows):
            return True
    return False
