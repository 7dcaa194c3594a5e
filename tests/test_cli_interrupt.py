"""Ctrl-C at every moment of a command: one line, never a traceback, and never ignored."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from kome_tui.topology.load import packaged_file
from tests.command_line import LIMIT_S
from tests.lab_fixture import RunningLab

AT_IMPORT = """
import os, runpy, signal, sys

MODULE = sys.argv.pop(1)

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
"""
COMMAND = AT_IMPORT + "from kome_tui.cli import main; main(sys.argv[1:])"
LAB = AT_IMPORT + "runpy.run_module('kome_tui.lab', run_name='__main__', alter_sys=True)"

MANY_MOMENTS = """
import os, signal, sys, threading, time
from kome_tui.cli import push
from kome_tui.release.outcome import PushReport

ROUNDS, LIMIT_S, heard = 300, 20, 0
sys.setswitchinterval(1e-4)
for number in range(ROUNDS):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begun, over = [], threading.Event()

    def work(report, stop):
        begun.append(stop)
        deadline = time.monotonic() + LIMIT_S
        while not stop.is_set() and not over.is_set() and time.monotonic() < deadline:
            time.sleep(0.0005)
        return PushReport("ok", 0.0, {})

    def press():
        time.sleep(number * 1e-5)
        os.kill(os.getpid(), signal.SIGINT)

    key = threading.Thread(target=press)
    try:
        key.start()
        push.run_push(work, "kome-tui")
        heard += begun[0].is_set()
    except KeyboardInterrupt:
        over.set()
        if begun:
            sys.exit(f"round {number}: the push ran on after Ctrl-C")
    key.join()
    if begun and not begun[0].is_set():
        sys.exit(f"round {number}: Ctrl-C was ignored")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
print(heard)
"""


UNSEEN = """
import termios
from kome_tui.cli import interrupt

interrupt.leave_at_once(as_json=False)
silent = termios.tcgetattr(0)
silent[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, silent)
print("unseen", flush=True)
input()
"""


def run(program: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture
def on_loopback(tmp_path: Path) -> Path:
    """A topology that no traffic can leave this machine with."""
    path = tmp_path / "topology.yaml"
    text = packaged_file("topology.yaml").read_text()
    path.write_text(re.sub(r"192\.168\.86\.(\d+)\b(?!/)", r"127.0.86.\1", text))
    return path


@pytest.mark.parametrize(
    "module", ["kome_tui.cli.run", "typer", "pydantic", "yaml", "kome_tui.cli.watch", "paramiko"]
)
def test_ctrl_c_during_an_import_is_one_line(on_loopback: Path, module: str) -> None:
    ran = run(COMMAND, module, "-t", str(on_loopback), "status", cwd=on_loopback.parent)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_under_json_is_one_object(on_loopback: Path) -> None:
    ran = run(COMMAND, "paramiko", "-t", str(on_loopback), "plan", "--json", cwd=on_loopback.parent)
    assert ran.returncode == 130
    assert json.loads(ran.stdout) == {"schema": 1, "error": "interrupted"}
    assert ran.stderr == "interrupted\n"


@pytest.mark.parametrize("module", ["argparse", "kome_tui.errors", "kome_tui.lab.run", "asyncssh"])
def test_ctrl_c_while_a_lab_loads_is_one_line(tmp_path: Path, module: str) -> None:
    ran = run(LAB, module, "--dir", str(tmp_path / "lab"), cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_heard_at_every_moment_of_a_push(tmp_path: Path) -> None:
    ran = run(MANY_MOMENTS, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 0


def test_ctrl_c_at_a_password_gives_the_terminal_back() -> None:
    ours, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", UNSEEN], stdin=terminal, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "unseen\n"
            assert not termios.tcgetattr(terminal)[3] & termios.ECHO
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_S) == 130
        assert termios.tcgetattr(terminal)[3] & termios.ECHO
    finally:
        os.close(ours)
        os.close(terminal)


def test_ctrl_c_ends_a_watch_with_one_line(practice_lab: RunningLab, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kome_tui", "-t", str(practice_lab.topology)]
    command += ["--ssh-config", str(practice_lab.ssh_config), "triage", "--watch", "--no-probe"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "findings in" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (130, "interrupted\n")
