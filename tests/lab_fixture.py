"""A practice fleet for tests: a process of its own, ended and cleaned up whatever the test does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import wait_until

READY_S = 30.0
STOP_S = 25.0


@dataclass(frozen=True)
class RunningLab:
    """A lab that has said `ready`."""

    directory: Path
    process: "subprocess.Popen[str]"
    ready_after_s: float

    @property
    def topology(self) -> Path:
        return self.directory / "topology.yaml"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and for the reaper after a kill; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(STOP_S)
        wait_until(lambda: not (self.directory / ".kome-lab").exists(), STOP_S)
        return code


@contextmanager
def lab_process(
    tmp_path: Path,
    nodes: int = 11,
    *,
    traffic: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningLab]:
    """A running lab in tmp_path/lab. Leaving the block ends it and fails if anything is left."""
    directory = tmp_path / "lab"
    command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(directory)]
    command += ["--nodes", str(nodes), *([] if traffic else ["--no-traffic"])]
    begun = time.monotonic()
    errors = tmp_path / "lab.stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    assert process.stdout is not None
    with process.stdout:
        # A lab that hangs before `ready` is ended by the test's own time limit, through finally.
        try:
            first = process.stdout.readline().strip()
            assert first == "ready", f"the lab said {first!r}: {errors.read_text()}"
            yield RunningLab(directory, process, time.monotonic() - begun)
        finally:
            _end(process, directory)
    said = errors.read_text()
    assert said == "", f"the lab wrote to stderr: {said}"


def _end(process: "subprocess.Popen[str]", directory: Path) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its reaper cleans up in its place
        process.wait()
    wait_until(lambda: not directory.exists(), STOP_S)


@pytest.fixture(scope="session")
def practice_lab(tmp_path_factory: pytest.TempPathFactory, own_home: Path) -> Iterator[RunningLab]:
    """One lab of 11 nodes for all tests of a run. A test that breaks it heals it."""
    with lab_process(tmp_path_factory.mktemp("practice")) as lab:
        yield lab
