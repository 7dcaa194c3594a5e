"""Commands run on a machine, and what this computer's /proc says of a machine's processes."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.machines.world import CommandFailed

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Entered from outside, a command has this computer's rights, not the machine's: it could set the
# clock of all that runs here.
_WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-sys_time,-sys_module,-sys_rawio"]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def in_clean_environment(words: list[str]) -> list[str]:
    """The command that runs `words` with root's environment of a machine, and none of ours."""
    return ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LC_ALL=C", *words]


def finish(
    command: list[str], stdin: str | bytes, check: bool, timeout_s: float, name: str
) -> Done:
    """Run a command for the machine `name`. Raises CommandFailed if it fails and `check` is set."""
    done = subprocess.run(
        [*_WITHOUT_RIGHTS, *command],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    out, err = (said.decode(errors="replace") for said in (done.stdout, done.stderr))
    if check and done.returncode != 0:
        raise CommandFailed(f"{name}: exit {done.returncode} of {command}\n{out}{err}")
    return Done(done.returncode, out, err)


def namespace_depth(process: int) -> int:
    """In how many process namespaces a first process stands, ours included; 0 for others."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    ids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return len(ids) if ids[-1] == "1" else 0


def own_memory(process: int) -> int:
    """The bytes that a process shares with nobody; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
