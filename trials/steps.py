"""Every named step of the node script, stopped there and killed in three ways.

A process holds still at the step (SIGSTOP to itself); then die: itself, or every process of the
script, or the whole machine, which boots again. A step that is never reached is a violation: the
list would be out of date.
"""

import itertools
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from tests.node_machine import Machine
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
from trials.tally import Tally

KILLS = ("the process", "every process of the script", "the machine")

STEPS = {
    # step: (verb whose exec carries the fault, what else happens)
    "verb.receiving": "stage",
    "verb.received": "stage",
    "verb.accepted": "stage",
    "verb.staged": "stage",
    "verb.archived": "first",
    "verb.adopted": "first",
    "verb.guarded": "apply",
    "verb.journaled": "apply",
    "runner.start": "apply",
    "runner.switched": "apply",
    "runner.reloaded": "apply",
    "runner.proved": "apply",
    "verb.deciding": "confirm",
    "verb.decided": "confirm",
    "runner.decision": "apply confirm",
    "runner.forward": "apply confirm",
    "runner.decided": "apply late",
    "runner.restored": "apply late",
    "runner.told": "apply late",
    "guard.start": "apply orphan",
    "guard.decided": "apply orphan",
    "guard.restored": "apply orphan",
    "guard.told": "apply orphan",
}
"""Each step, and on which way through a push it is met."""


def unlisted() -> set[str]:
    """Names of steps in a push's parts of the script that STEPS does not have."""
    parts = files("kome_tui.fleet").joinpath("node").iterdir()
    texts = [part.read_text() for part in parts if part.name < "60"]
    named = {name for text in texts for name in re.findall(r"^\s+fp (\w+)$", text, re.MULTILINE)}
    return named - {step.partition(".")[2] for step in STEPS}


ALL = tuple(itertools.product(STEPS, KILLS))


def every_step(folder: Path, pairs: tuple[tuple[str, str], ...] = ALL) -> Tally:
    """Each pair of a step and a kind of kill."""
    tally = Tally("named steps x kinds of kill")
    tally.violations += [f"step {name} is in no trial" for name in sorted(unlisted())]
    for number, (step, how) in enumerate(pairs):
        with _machine(folder / f"step-{number}", first=STEPS[step] == "first") as machine:
            try:
                found = one(machine, step, how)
            except AssertionError as error:
                found = [str(error)]
        tally.runs += 1
        tally.counts[f"by killing {how}"] += 1
        tally.violations += [f"{step}, killing {how}: {text}" for text in found]
    return tally


def one(machine: Machine, step: str, how: str) -> list[str]:
    """Stop at `step`, kill, settle; what is broken then."""
    old = release(machine, "page-0")
    if STEPS[step] == "first":
        return _first_push(machine, step, how)
    verb, _, way = STEPS[step].partition(" ")
    push = Push(machine, release(machine, "page-1"), "token-1", trial_s=4, fault=(verb, step))
    push.hold_s = 0 if way in ("confirm", "") else 60
    if way == "late":
        push.trial_s = 0.2
    console = push.start()
    if way == "orphan":
        wait_until(lambda: "apply" in push.answers, 20)
        kill(script_processes(machine, "runner"))
    reached = holding(machine)
    push.cut.set()
    _kill(machine, how, reached)
    console.join()
    if how == "the machine":
        reboot(machine)
    settle(machine)
    found = broken(machine, old, push.built, push.told)
    again = release(machine, "page-2")
    machine.push(again, "token-2")
    return found + broken(machine, again, again, "confirmed")


def _first_push(machine: Machine, step: str, how: str) -> list[str]:
    built = release(machine, "page-0")
    machine.stage(built)
    process = machine.start(
        "apply", fault=step, id=built.id, token="t-0", trial=20, by="ops.laptop"
    )
    reached = holding(machine)
    _kill(machine, how, reached)
    process.communicate()
    if how == "the machine":
        reboot(machine)
    settle(machine)
    found = [] if machine.page() == "before kome" else [f"serves {machine.page()!r}"]
    machine.push(built, "t-1")
    if not (machine.state / "releases/original").is_dir():
        found.append("the original was not kept")
    return found + broken(machine, built, built, "confirmed")


def _kill(machine: Machine, how: str, reached: int) -> None:
    if how == "the process":
        os.kill(reached, signal.SIGKILL)
    elif how == "the machine":
        kill_all(machine, Machine.processes)
    else:
        kill_all(machine, script_processes)


@contextmanager
def _machine(folder: Path, first: bool) -> Iterator[Machine]:
    folder.mkdir(parents=True)
    machine = Machine(folder)
    machine.env["KOME_FP_SIGNAL"] = "STOP"
    try:
        machine.start_nginx()
        if not first:
            machine.push(release(machine, "page-0"), "token-0")
        yield machine
    finally:
        machine.close()
