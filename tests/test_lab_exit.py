"""A lab leaves nothing behind: no process, no port, no file, however it ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kome_tui.fleet.fleet import Fleet
from kome_tui.lab.control import latest_lab
from kome_tui.topology.load import load
from kome_tui.topology.model import UpstreamName
from tests.lab_fixture import RunningLab, lab_process
from tests.lab_processes import alive, lab_pids
from tests.waiting import wait_until


def ports_of(lab: RunningLab) -> set[int]:
    topology = load(lab.topology)
    ports = {topology.http_of(name).port for name in topology.nodes}
    ports |= {topology.endpoint(UpstreamName.OKOME, name).port for name in topology.nodes}
    ports |= {topology.upstreams.of(name).port for name in UpstreamName}
    config = lab.ssh_config.read_text().split()
    return ports | {int(config[i + 1]) for i, word in enumerate(config) if word == "Port"}


def answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def nothing_is_left(pids: set[int], ports: set[int], directory: Path) -> None:
    wait_until(lambda: not alive(pids) or None, within_s=20)
    assert alive(pids) == {}
    assert [port for port in ports if answers(port)] == []
    assert not directory.exists()
    assert latest_lab() != directory
    rest = [pid for pid in lab_pids(-1, directory) if pid != os.getpid()]
    assert alive(set(rest)) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signal_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with lab_process(tmp_path, nodes=4) as lab:
        pids, ports = lab_pids(lab.process.pid, lab.directory), ports_of(lab)
        assert len(pids) >= 2 + 4 * 2 + 1
        assert all(answers(port) for port in ports)
        code = lab.stop(number)
        assert code == (-9 if number == signal.SIGKILL else 0)
        nothing_is_left(pids, ports, lab.directory)


def started(lab: RunningLab, node: str, script: str) -> "subprocess.Popen[str]":
    """A command on a node, once it has said `on`."""
    command = ["ssh", "-F", str(lab.ssh_config), node, script]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "on\n"
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_commands_and_their_children_are_ended(tmp_path: Path, number: signal.Signals) -> None:
    with lab_process(tmp_path, nodes=1) as lab:
        script = "sleep 300 & (trap '' HUP TERM; sleep 300) & echo on; sleep 300"
        client = started(lab, "kome", script)
        pids = lab_pids(lab.process.pid, lab.directory)
        lab.stop(number)
        client.communicate()
        nothing_is_left(pids, set(), lab.directory)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_trial_that_runs_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    """Runner and guard are in sessions of their own; the guard would start nginx again."""
    with lab_process(tmp_path, nodes=1) as lab:
        topology = load(lab.topology)
        from kome_tui.nginx.render import render_release

        release = render_release(topology, "kome")
        with Fleet(topology, lab.ssh_config) as fleet:
            node = fleet.node("kome")
            node.stage(release.id, release.conf.encode())
            assert node.apply(release.id, "token-1", 60).on_trial
            pids, ports = lab_pids(lab.process.pid, lab.directory), ports_of(lab)
            lab.stop(number)
        nothing_is_left(pids, ports, lab.directory)


def test_orphaned_workers_are_ended(tmp_path: Path) -> None:
    with lab_process(tmp_path, nodes=1) as lab:
        pids, ports = lab_pids(lab.process.pid, lab.directory), ports_of(lab)
        master = int((lab.directory / "nodes/kome/run/nginx.pid").read_text())
        os.kill(master, signal.SIGKILL)
        lab.stop()
        nothing_is_left(pids, ports, lab.directory)


def test_next_lab_sweeps_what_a_lab_left_whose_reaper_was_killed_too(tmp_path: Path) -> None:
    with lab_process(tmp_path, nodes=2) as lab:
        pids, ports = lab_pids(lab.process.pid, lab.directory), ports_of(lab)
        commands = alive(pids)
        (reaper,) = [pid for pid, command in commands.items() if "reaper.py" in command]
        os.kill(reaper, signal.SIGKILL)
        lab.process.kill()
        lab.process.wait()
        assert (lab.directory / "topology.yaml").exists()
        left = alive(pids)
        assert any("nginx" in command for command in left.values())
        with lab_process(tmp_path, nodes=1) as second:
            wait_until(lambda: not alive(pids) or None)
            assert list(load(second.topology).nodes) == ["kome"]
        nothing_is_left(pids, ports, lab.directory)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "at-once": lambda lab: True,
    "folder": lambda lab: lab.exists(),
    "claimed": lambda lab: (lab / ".kome-lab").exists(),
    "first-node": lambda lab: (lab / "nodes/kome").exists(),
    "first-nginx": lambda lab: any(lab.glob("nodes/*/run/nginx.pid")),
    "redis": lambda lab: (lab / "redis/redis.pid").exists(),
    "topology": lambda lab: (lab / "topology.yaml").exists(),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted_start_leaves_nothing(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    directory = tmp_path / "lab"
    command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(directory), "--nodes", "6"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_until(lambda: MOMENTS[moment](directory), within_s=20, every_s=0.001)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said or moment == "at-once"
    wait_until(lambda: not directory.exists(), within_s=20)
    wait_until(lambda: not alive(lab_pids(process.pid, directory)) or None, within_s=20)


def test_two_interrupts_do_not_hurry_it_into_leaving_something(tmp_path: Path) -> None:
    with lab_process(tmp_path, nodes=3) as lab:
        pids, ports = lab_pids(lab.process.pid, lab.directory), ports_of(lab)
        lab.process.send_signal(signal.SIGINT)
        while lab.process.poll() is None:
            lab.process.send_signal(signal.SIGINT)
            wait_until(lambda: True)
        assert lab.process.returncode == 0
        nothing_is_left(pids, ports, lab.directory)


def test_leash_ends_it_with_its_parent(tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(directory), "--nodes", "1"]
    process = subprocess.Popen(
        [*command, "--leash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert not directory.exists()
