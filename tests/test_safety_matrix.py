"""The matrix of a push: one fault (a test) at one step (its parameter), on a real nginx.

Steps: S stage, A arm, J journal, W switch, R reload, T trial, C confirm, B going back. The process
that has reached the step holds still there while the fault happens. docs/safety.md has the cells.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.node_machine import Built, Machine
from tests.waiting import wait_until
from trials.push import (
    Push,
    broken,
    holding,
    kill,
    kill_all,
    reboot,
    release,
    script_processes,
    settle,
)

POINTS = {
    "S": ("stage", "verb.received"),
    "A": ("apply", "verb.guarded"),
    "J": ("apply", "verb.journaled"),
    "W": ("apply", "runner.switched"),
    "R": ("apply", "runner.reloaded"),
    "T": ("", ""),
    "C-before": ("confirm", "verb.deciding"),
    "C-after": ("confirm", "verb.decided"),
    "B": ("apply", "runner.decided"),
}
SHORT_S, LONG_S = 0.6, 30.0


def at(*steps: str) -> pytest.MarkDecorator:
    """One test for each step."""
    return pytest.mark.parametrize("step", steps)


@dataclass
class Site:
    """A node with a confirmed release, and a push of the next one."""

    machine: Machine
    old: Built
    new: Built

    @contextmanager
    def push_at(self, step: str, trial_s: float = LONG_S) -> Iterator[Push]:
        """A push that has come to `step`; afterwards the process there goes on, if it lives."""
        trial_s = 0.2 if step == "B" else trial_s
        confirms = step.startswith("C")
        push = Push(self.machine, self.new, "token-1", trial_s, 0.0 if confirms else 60.0)
        push.fault = POINTS[step]
        console = push.start()
        if step == "T":
            wait_until(lambda: "apply" in push.answers)
            held = 0
        else:
            held = holding(self.machine)
        try:
            yield push
        finally:
            if held:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(held, signal.SIGCONT)
            push.cut.set()
            console.join()

    def ends(self, push: Push, *, old: bool) -> None:
        """Once all has settled, files, links and nginx agree on the old release, or the new."""
        settle(self.machine)
        assert broken(self.machine, self.old, self.new, push.told) == []
        assert self.machine.live() == (self.old if old else self.new).id


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with made_in(tmp_path) as made:
        yield made


@contextmanager
def made_in(folder: Path) -> Iterator[Site]:
    machine = Machine(folder)
    machine.env["KOME_FP_SIGNAL"] = "STOP"
    try:
        machine.start_nginx()
        old = release(machine, "page-0")
        machine.push(old, "token-0")
        yield Site(machine, old, release(machine, "page-1"))
    finally:
        machine.close()


def console_dies(push: Push) -> None:
    push.cut.set()
    if push.process is not None:
        kill([push.process.pid])


@at("S", "A", "J", "W", "R", "T", "B")
def test_console_killed_ends_old(site: Site, step: str) -> None:
    with site.push_at(step, SHORT_S) as push:
        console_dies(push)
    site.ends(push, old=True)
    if step == "S":
        assert not (site.machine.state / "releases" / site.new.id).exists()


@at("C-before", "C-after")
def test_console_killed_in_confirm_ends_as_the_disk_says(site: Site, step: str) -> None:
    """Reconnecting never hears "unknown"."""
    with site.push_at(step, SHORT_S) as push:
        console_dies(push)
    site.ends(push, old=step == "C-before")
    told = site.machine.run("confirm", token=push.token)["decision"]
    assert told == ("rolled-back" if step == "C-before" else "confirmed")


@at("T")
def test_laptop_asleep_past_the_deadline_hears_rolled_back(site: Site, step: str) -> None:
    with site.push_at(step, SHORT_S) as push:
        wait_until(lambda: not (site.machine.state / "journal").exists())
    site.ends(push, old=True)
    assert site.machine.run("confirm", token=push.token)["decision"] == "rolled-back"


@at("S", "A", "J", "W", "R")
def test_laptop_asleep_before_the_trial_ends_old(site: Site, step: str) -> None:
    """Its connection stands, and it says nothing: nobody proves, nobody confirms."""
    with site.push_at(step, SHORT_S) as push:
        pass
    site.ends(push, old=True)


@at("J", "W", "R", "T")
def test_runner_killed_the_guard_goes_back(site: Site, step: str) -> None:
    with site.push_at(step) as push:
        if step == "J":  # the runner is born once the verb goes on
            os.kill(holding(site.machine), signal.SIGCONT)
            wait_until(lambda: script_processes(site.machine, "runner"))
        kill(script_processes(site.machine, "runner"))
        wait_until(lambda: not (site.machine.state / "journal").exists())
    site.ends(push, old=True)


@at("C-before", "C-after")
def test_runner_killed_in_confirm_counts_the_commit(site: Site, step: str) -> None:
    with site.push_at(step) as push:
        kill(script_processes(site.machine, "runner"))
        wait_until(lambda: not (site.machine.state / "journal").exists())
    site.ends(push, old=step == "C-before")


@at("B")
def test_runner_killed_while_going_back_the_guard_finishes(site: Site, step: str) -> None:
    with site.push_at(step) as push:
        kill(script_processes(site.machine, "runner"))
        wait_until(lambda: not (site.machine.state / "journal").exists())
    site.ends(push, old=True)


@at("A", "J", "W", "R", "T", "B")
def test_runner_and_guard_killed_the_next_contact_goes_back(site: Site, step: str) -> None:
    with site.push_at(step) as push:
        console_dies(push)
        kill_all(site.machine, script_processes)
        site.machine.run("recover")
    site.ends(push, old=True)


@at("C-after")
def test_runner_and_guard_killed_after_the_commit_the_next_contact_finishes(
    site: Site, step: str
) -> None:
    with site.push_at(step) as push:
        console_dies(push)
        kill_all(site.machine, script_processes)
    assert site.machine.run("confirm", token=push.token)["decision"] == "confirmed"
    site.ends(push, old=False)


@at("S", "A", "J", "W", "R", "T", "C-before", "B")
def test_power_cut_is_old_before_nginx_starts(site: Site, step: str) -> None:
    with site.push_at(step) as push:
        push.cut.set()
        kill_all(site.machine, Machine.processes)
    reboot(site.machine)
    assert site.machine.live() == site.old.id
    site.ends(push, old=True)


@at("C-after")
def test_power_cut_after_the_commit_is_new(site: Site, step: str) -> None:
    with site.push_at(step) as push:
        push.cut.set()
        kill_all(site.machine, Machine.processes)
    reboot(site.machine)
    site.ends(push, old=False)


def nginx_dies(machine: Machine) -> None:
    master = machine.master()
    assert master is not None
    kill([master])
    wait_until(lambda: not Path(f"/proc/{master}").exists())


@at("S", "A", "J", "W", "R", "T", "B")
def test_nginx_killed_ends_old_and_serving(site: Site, step: str) -> None:
    with site.push_at(step) as push:
        nginx_dies(site.machine)
        if step in "SAJ":  # what was begun is given up; a push that went on would start nginx
            console_dies(push)
    site.ends(push, old=True)


@at("C-before")
def test_nginx_killed_in_confirm_is_not_confirmed(site: Site, step: str) -> None:
    """The runner notices too; whoever is first, the answer is not "confirmed" over a dead nginx."""
    with site.push_at("T") as push:
        nginx_dies(site.machine)
        for pid in site.machine.processes("nginx: "):
            kill([pid])
        answer = site.machine.run("confirm", token=push.token)
        assert answer.keys.get("decision") != "confirmed"
    site.ends(push, old=True)


@at("S", "A", "J", "W", "R", "T")
def test_clock_jumps_change_nothing(site: Site, step: str) -> None:
    """Ten years forward at one step and back at the next: only uptime counts."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    assert library is not None, "the package faketime is not installed"
    env = site.machine.env
    jumped = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    for years, token in (("+10y", "token-far"), ("-10y", "token-past")):
        env.update(jumped, FAKETIME=years)
        built = release(site.machine, f"page-{token}")
        site.machine.push(built, token)
        assert site.machine.live() == built.id
        site.old = built
    env.update(jumped, FAKETIME="+10y" if step in "SJR" else "-10y")
    with site.push_at(step, SHORT_S) as push:
        for name in (*jumped, "FAKETIME"):
            env.pop(name)
    site.ends(push, old=True)


@at("W", "T", "C-before")
def test_a_second_console_hears_busy_and_changes_nothing(site: Site, step: str) -> None:
    with site.push_at(step, 3.0) as push:
        other = release(site.machine, "page-2")
        assert site.machine.stage(other).end == "ok"
        answer = site.machine.apply(other, "token-other")
        assert answer.end.startswith("busy ops.laptop since 2")
        assert site.machine.run("confirm", token="token-other").end.startswith("refused")
        if step == "C-before":
            os.kill(holding(site.machine), signal.SIGCONT)
            wait_until(lambda: "confirm" in push.answers)
    site.ends(push, old=step != "C-before")


# ---------------------------------------------------------------- a disk that takes nothing


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture(params=["size=3M,nr_inodes=0", "size=64M,nr_inodes=120"], ids=["blocks", "inodes"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site whose state lies on a small file system of its own."""
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", state], check=True)
    try:
        with made_in(tmp_path) as made:
            yield made
    finally:
        subprocess.run(["umount", state], check=True)


def fill(state: Path) -> None:
    """Until neither a block nor an inode is left."""
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (state / f"filler-{number}").touch()
    first = state / "filler-0"
    handle = os.open(first if first.exists() else state / "last", os.O_CREAT | os.O_WRONLY)
    try:
        with contextlib.suppress(OSError):
            while True:
                os.write(handle, b"x" * 4096)
    finally:
        os.close(handle)


@needs_root
def test_disk_full_refuses_stage_with_free_and_needed(small: Site) -> None:
    fill(small.machine.state)
    answer = small.machine.stage(small.new)
    assert answer.end.startswith("refused the disk is full: 0 ")
    assert "needed" in answer.end
    assert small.machine.live() == small.old.id
    assert small.machine.page() == "page-0"


@needs_root
@at("A", "J", "W", "R", "T", "B")
def test_disk_full_ends_old(small: Site, step: str) -> None:
    with small.push_at(step, SHORT_S) as push:
        fill(small.machine.state)
    small.ends(push, old=True)


@needs_root
@at("C-before", "C-after")
def test_disk_full_in_confirm_is_never_half(small: Site, step: str) -> None:
    with small.push_at(step, 3.0) as push:
        fill(small.machine.state)
        os.kill(holding(small.machine), signal.SIGCONT)
        wait_until(lambda: "confirm" in push.answers)
    settle(small.machine)
    assert broken(small.machine, small.old, small.new, push.told) == []


def remount(machine: Machine, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", machine.state], check=True)


@needs_root
def test_read_only_refuses_stage(small: Site) -> None:
    remount(small.machine, "ro")
    assert small.machine.stage(small.new).end.startswith(("refused", "failed"))
    assert small.machine.live() == small.old.id
    remount(small.machine, "rw")


@needs_root
@at("A", "J")
def test_read_only_before_the_switch_ends_old(small: Site, step: str) -> None:
    with small.push_at(step, SHORT_S) as push:
        remount(small.machine, "ro")
    assert small.machine.page() == "page-0"
    wait_until(lambda: not script_processes(small.machine))
    remount(small.machine, "rw")
    small.machine.run("recover")
    small.ends(push, old=True)


@needs_root
@at("W", "R", "T", "B")
def test_read_only_after_the_switch_is_degraded_until_it_can_be_written(
    small: Site, step: str
) -> None:
    with small.push_at(step, SHORT_S) as push:
        remount(small.machine, "ro")
    wait_until(lambda: not script_processes(small.machine), within_s=30)
    status = small.machine.run("status")
    assert status["trial"] == small.new.id
    assert status["last"].startswith("degraded ")
    remount(small.machine, "rw")
    assert small.machine.run("recover")["decision"] == "rolled-back"
    small.ends(push, old=True)


@needs_root
def test_read_only_in_confirm_is_refused(small: Site) -> None:
    with small.push_at("T", SHORT_S) as push:
        remount(small.machine, "ro")
        answer = small.machine.run("confirm", token=push.token)
        assert answer.end.startswith("refused the decision cannot be written")
    wait_until(lambda: not script_processes(small.machine), within_s=30)
    remount(small.machine, "rw")
    small.machine.run("recover")
    small.ends(push, old=True)
