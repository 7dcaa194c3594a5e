"""Which lab a command speaks to, and how a headless one is found from another terminal."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.lab import cleanup
from kome_tui.lab.control import latest_lab, record, record_path
from tests.command_line import LIMIT_S, kome_tui
from tests.waiting import wait_until


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder in which no other lab is noted."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def port() -> Iterator[int]:
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def noted(directory: Path, port: int, at_s: int) -> Path:
    """A lab that was started at a time, and answers on `port`."""
    directory.mkdir()
    (directory / "control").write_text(json.dumps({"port": port, "token": "x"}))
    record(directory)
    os.utime(record_path(directory), (at_s, at_s))
    return directory


@pytest.mark.parametrize("command", [("break", "okome-down"), ("heal",)])
def test_the_folder_may_stand_before_the_verb(tmp_path: Path, command: tuple[str, ...]) -> None:
    ran = kome_tui("lab", "--dir", tmp_path / "mine", *command, cwd=tmp_path)
    assert ran.code == 1
    assert f"no lab runs in {tmp_path / 'mine'}" in ran.err


def test_the_newest_lab_that_lives_is_meant(state: Path, tmp_path: Path, port: int) -> None:
    noted(tmp_path / "oldest", port, 100)
    older = noted(tmp_path / "older", port, 200)
    dead = noted(tmp_path / "newest", 1, 300)
    assert latest_lab() == older
    cleanup.forget(record_path(dead), dead)
    assert latest_lab() == older


def test_the_last_lab_takes_the_notes_with_it(state: Path, tmp_path: Path, port: int) -> None:
    state.mkdir()
    first, second = (noted(tmp_path / name, port, 100) for name in ("first", "second"))
    cleanup.forget(record_path(first), first)
    assert latest_lab() == second
    cleanup.forget(record_path(second), second)
    assert latest_lab() is None
    assert list(state.iterdir()) == []


def test_a_headless_lab_says_how_to_open_the_console_on_it(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    command = [sys.executable, "-m", "kome_tui", "lab", "--headless"]
    with subprocess.Popen(
        [*command, "--dir", str(directory), "--nodes", "1"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LIMIT_S)
    named = f"kome-tui -t {directory}/topology.yaml --ssh-config {directory}/ssh_config"
    assert named in said
    assert out in ("", "ready\n")
    wait_until(lambda: not directory.exists(), 25)
