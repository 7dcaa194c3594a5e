"""Pushes interrupted at random moments, in eight kinds; some repeated right after "confirmed".

Every run draws its kind and its moment from the seed alone. The node is the same through all runs,
so that what one leaves behind is met by the next.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.node_machine import Built, Machine
from tests.waiting import wait_until
from trials.probes import Prober
from trials.push import (
    Push,
    broken,
    kill,
    kill_all,
    reboot,
    release,
    script_processes,
    settle,
)
from trials.tally import Tally

PUSH_S = 0.6
"""About as long as a push with its confirm takes; moments are drawn from this."""


def console_killed(push: Push) -> None:
    """The console's process dies, and sshd ends the command it ran."""
    push.cut.set()
    if push.process is not None:
        kill([push.process.pid])


def connection_cut(push: Push) -> None:
    """sshd hangs up on the command that runs."""
    push.cut.set()
    if push.process is not None and push.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(push.process.pid, signal.SIGHUP)


def runner_killed(push: Push) -> None:
    """Out of memory takes the runner."""
    kill(script_processes(push.machine, "runner"))


def guard_killed(push: Push) -> None:
    """Out of memory takes the guard."""
    kill(script_processes(push.machine, "guard"))


def runner_and_guard_killed(push: Push) -> None:
    """Nobody is left who would finish it: the next contact does."""
    kill(script_processes(push.machine, "guard") + script_processes(push.machine, "runner"))


def nginx_killed(push: Push) -> None:
    """The master dies; its workers hold the port and serve on."""
    master = push.machine.master()
    kill([master] if master else [])


def rebooted(push: Push) -> None:
    """Every process of the node dies, and it boots again."""
    push.cut.set()
    kill_all(push.machine, Machine.processes)


def asleep(push: Push) -> None:
    """The laptop sleeps past the deadline, wakes, and confirms."""
    push.hold_s = push.trial_s + 0.3


KINDS: dict[str, Callable[[Push], None]] = {
    "console killed": console_killed,
    "connection cut": connection_cut,
    "runner killed": runner_killed,
    "guard killed": guard_killed,
    "runner and guard killed": runner_and_guard_killed,
    "nginx killed": nginx_killed,
    "rebooted": rebooted,
    "laptop asleep": asleep,
}


def interruptions(folder: Path, count: int, seed: int) -> tuple[Tally, Tally]:
    """`count` pushes, each interrupted once at a random moment; and the answers meanwhile."""
    tally = Tally("random interruptions")
    chance = random.Random(seed)
    with _Node(folder) as node, Prober(node.machine.port) as prober:
        for number in range(count):
            kind = chance.choice(list(KINDS))
            after_s = chance.uniform(0, PUSH_S)
            push = node.next_push(f"i{seed}-{number}", hold_s=chance.uniform(0, 0.2))
            if kind == "laptop asleep":
                push.trial_s = 0.4
                asleep(push)
            console = push.start()
            if kind != "laptop asleep":
                time.sleep(after_s)  # the moment itself is what is drawn
                KINDS[kind](push)
            console.join()
            if kind == "rebooted":
                reboot(node.machine)
            settle(node.machine)
            told = push.told
            found = broken(node.machine, node.old, push.built, told)
            tally.runs += 1
            tally.counts[kind] += 1
            tally.violations += [
                f"{kind} after {after_s:.3f} s, run {number}: {one}" for one in found
            ]
            node.take_over(push)
    return tally, prober.tally


def confirmed_and_lost(folder: Path, count: int, seed: int) -> Tally:
    """Everything dies right after "confirmed" was told: it must be new after the boot."""
    tally = Tally("confirmed, then everything dies")
    chance = random.Random(seed)
    with _Node(folder) as node:
        for number in range(count):
            push = node.next_push(f"c{seed}-{number}")
            push.start().join()
            tally.runs += 1
            if push.told != "confirmed":
                tally.violations.append(
                    f"run {number}: an undisturbed push was told {push.answers}"
                )
            if chance.random() < 0.5:
                kill_all(node.machine, Machine.processes)
                reboot(node.machine)
            else:
                kill_all(node.machine, script_processes)
            settle(node.machine)
            found = broken(node.machine, node.old, push.built, push.told)
            tally.violations += [f"run {number}: {one}" for one in found]
            node.take_over(push)
    return tally


def runner_deaths(folder: Path, count: int, seed: int) -> Tally:
    """How long after the runner's death in a trial the old release serves again."""
    tally = Tally("runner dies in the trial")
    chance = random.Random(seed)
    with _Node(folder) as node:
        for number in range(count):
            push = node.next_push(f"r{seed}-{number}", hold_s=60)
            push.trial_s = 60
            console = push.start()
            wait_until(partial(push.answers.get, "apply"), 20)
            time.sleep(chance.uniform(0, 0.1))
            began = time.monotonic()
            kill(script_processes(node.machine, "runner"))
            wait_until(lambda: node.machine.page() == node.old_page, 20, every_s=0.005)
            tally.seconds.append(time.monotonic() - began)
            push.cut.set()
            console.join()
            settle(node.machine)
            tally.runs += 1
            found = broken(node.machine, node.old, push.built, push.told)
            tally.violations += [f"run {number}: {one}" for one in found]
            node.take_over(push)
    late = [took for took in tally.seconds if took > 2.0]
    allowed = len(tally.seconds) // 100
    if len(late) > allowed:
        tally.violations.append(f"{len(late)} of {tally.runs} took over 2 s: {max(late):.2f} s")
    return tally


class _Node:
    """A node that serves a confirmed release, and the pushes that change it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.machine = Machine(folder)
        self.old: Built = release(self.machine, "page-0")
        self.old_page = "page-0"
        self._pushed = 0

    def __enter__(self) -> "_Node":
        self.machine.start_nginx()
        self.machine.push(self.old, "first")
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.close()

    def next_push(self, token: str, hold_s: float = 0.0) -> Push:
        """A push of a release that was never there."""
        self._pushed += 1
        built = release(self.machine, f"page-{self._pushed}")
        return Push(self.machine, built, token, hold_s=hold_s)

    def take_over(self, push: Push) -> None:
        """What is live now is the old release of the next push."""
        if self.machine.live() == push.built.id:
            self.old = push.built
            self.old_page = f"page-{self._pushed}"
