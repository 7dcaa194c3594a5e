"""The stand-ins do what the originals do; each case runs with both where the original is here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kome_tui.lab.standins import PROGRAMS, UPTIME, write_standins

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def stand_in_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bin")
    patch = pytest.MonkeyPatch()
    patch.setenv("KOME_LAB_WITHOUT", ",".join((*PROGRAMS, UPTIME)))
    try:
        assert set(write_standins(folder)) == {*PROGRAMS, UPTIME}
    finally:
        patch.undo()
    return folder


@pytest.fixture(params=["stand-in", "original"])
def sh(request: pytest.FixtureRequest, stand_in_folder: Path, tmp_path: Path) -> Run:
    """Runs a script with the stand-ins, or the originals, in its PATH."""
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    if request.param == "stand-in":
        path = f"{stand_in_folder}:{path}"
    elif sys.platform == "darwin" or not all(shutil.which(name) for name in PROGRAMS):
        # Nothing to compare with: this machine is what the stand-ins are for.
        path = f"{stand_in_folder}:{path}"

    def run(script: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["/bin/sh", "-c", script],
            input=given,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": path},
            timeout=20,
            check=False,
        )

    return run


def test_nothing_is_written_where_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kome_tui.lab.standins.find_program", lambda name: f"/usr/bin/{name}")
    written = write_standins(tmp_path)
    assert set(written) == (set() if Path("/proc/uptime").exists() else {UPTIME})
    assert {path.name for path in tmp_path.iterdir()} == set(written)


def test_flock_on_a_descriptor_outlives_the_program(sh: Run) -> None:
    script = """
        exec 9>lock; flock -n 9 || exit 10
        (exec 8>lock; flock -n 8) && exit 11
        (exec 8>lock; flock -n 8); echo "second: $?"
        flock -u 9; (exec 8>lock; flock -n 8) || exit 12
        exec 9>&-; exec 7>lock; flock -x -n 7; echo "free: $?"
    """
    done = sh(script)
    assert (done.returncode, done.stdout) == (0, "second: 1\nfree: 0\n")


def test_flock_waits_as_long_as_it_is_told(sh: Run) -> None:
    script = """
        exec 9>lock; flock 9
        (exec 8>lock; flock -w 0.2 8; echo "late: $?"; flock -E 75 -n 8; echo "told: $?")
        (exec 9>&-; exec 8>lock; flock -w 10 8; echo "got: $?") & flock -u 9; wait
    """
    assert sh(script).stdout.splitlines() == ["late: 1", "told: 75", "got: 0"]


def test_flock_shares_a_shared_lock(sh: Run) -> None:
    script = (
        "exec 9>lock; flock -s 9; (exec 8>lock; flock -s -n 8; echo $?; flock -x -n 8; echo $?)"
    )
    assert sh(script).stdout.split() == ["0", "1"]


def test_flock_runs_a_command_under_the_lock(sh: Run) -> None:
    script = """
        flock lock sh -c 'flock -n lock true; echo "inner: $?"; exit 5'; echo "outer: $?"
        flock lock -c 'exit 6'; echo "shell: $?"
    """
    assert sh(script).stdout.splitlines() == ["inner: 1", "outer: 5", "shell: 6"]


@pytest.mark.parametrize("script", ["flock -n", "flock -n nofile"])
def test_flock_called_wrongly_fails(sh: Run, script: str) -> None:
    done = sh(script)
    assert done.returncode not in (0, 1)
    assert done.stderr


def test_setsid_makes_a_session_of_its_own(sh: Run) -> None:
    # A session leader leads its group too: pid and group are the same.
    done = sh('setsid sh -c \'ps -o pid=,pgid= -p $$ | { read a b; [ "$a" = "$b" ]; echo $?; }\'')
    assert done.stdout == "0\n"


def test_setsid_passes_code_and_words(sh: Run) -> None:
    script = "setsid -w sh -c 'echo \"$1\"; exit 4' x 'a  b'; echo $?; setsid -w /no/such; echo $?"
    done = sh(script)
    assert done.stdout.splitlines() == ["a  b", "4", "127"]


def test_setsid_forks_when_it_is_told(sh: Run) -> None:
    done = sh("setsid -f sh -c 'until [ -e go ]; do :; done; echo late >out'; echo first; : >go")
    assert done.stdout == "first\n"


def test_setsid_without_a_command_fails(sh: Run) -> None:
    assert sh("setsid").returncode == 1


def test_sha256sum_of_input_and_files(sh: Run) -> None:
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    done = sh(
        "sha256sum; printf abc >x; sha256sum x <x; sha256sum - <x; sha256sum no; echo $?", "abc"
    )
    assert done.stdout.splitlines() == [
        f"{digest}  -",
        f"{digest}  x",
        f"{digest}  -",
        "1",
    ]
    assert "no: No such file" in done.stderr


def test_uptime_is_the_systems_uptime(stand_in_folder: Path) -> None:
    done = subprocess.run(
        [str(stand_in_folder / UPTIME)], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.strip().replace(".", "").isdigit()
    if os.path.exists("/proc/uptime"):  # noqa: PTH110
        system = float(Path("/proc/uptime").read_text().split()[0])
        assert abs(float(done.stdout) - system) < 5
