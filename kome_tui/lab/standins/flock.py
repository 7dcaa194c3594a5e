"""flock(1) as far as kome-node uses it.

    flock [-s|-x|-u] [-n] [-w SECONDS] [-E CODE] FD
    flock [-s|-x] [-n] [-w SECONDS] [-E CODE] FILE COMMAND [ARGUMENT]...
    flock ... FILE -c 'SHELL COMMAND'

With FD the lock belongs to the caller's open file, and lives on when this process has ended.
"""

import fcntl
import getopt
import os
import subprocess
import sys
import time

POLL_S = 0.02
USAGE = 64
LONG = [
    *("shared", "exclusive", "unlock", "nonblock", "nb", "close"),
    *("timeout=", "wait=", "conflict-exit-code="),
]


def main(arguments: list[str]) -> int:
    """Lock as asked; 1 (or -E) when somebody else has the lock."""
    try:
        options, rest = getopt.getopt(
            arguments,
            "sxenuw:E:o",
            LONG,
        )
        kind, patience, conflict = fcntl.LOCK_EX, None, 1
        for name, value in options:
            if name in ("-s", "--shared"):
                kind = fcntl.LOCK_SH
            elif name in ("-u", "--unlock"):
                kind = fcntl.LOCK_UN
            elif name in ("-n", "--nonblock", "--nb"):
                patience = 0.0
            elif name in ("-w", "--timeout", "--wait"):
                patience = float(value)
            elif name in ("-E", "--conflict-exit-code"):
                conflict = int(value)
        if not rest or (len(rest) == 1 and not rest[0].isdigit()):
            raise ValueError("a file descriptor, or a file and a command, is needed")
    except (getopt.GetoptError, ValueError) as error:
        print(f"flock: {error}", file=sys.stderr)
        return USAGE
    try:
        if len(rest) == 1:
            return 0 if lock(int(rest[0]), kind, patience) else conflict
        fd = os.open(rest[0], os.O_RDONLY | os.O_CREAT, 0o666)
        if not lock(fd, kind, patience):
            return conflict
    except OSError as error:
        print(f"flock: {rest[0]}: {error.strerror}", file=sys.stderr)
        return 66 if len(rest) > 1 else 65
    command = ["/bin/sh", "-c", rest[2]] if rest[1] == "-c" else rest[1:]
    return run(command, fd)


def lock(fd: int, kind: int, patience: float | None) -> bool:
    """Whether the lock was got within `patience` seconds; None waits for ever."""
    if patience is None:
        fcntl.flock(fd, kind)
        return True
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(POLL_S)


def run(command: list[str], fd: int) -> int:
    """The command's exit code; the lock is inherited, as by the original."""
    try:
        code = subprocess.run(command, pass_fds=[fd], check=False).returncode
    except OSError as error:
        print(f"flock: {command[0]}: {error.strerror}", file=sys.stderr)
        return 69
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
