"""What strikes one machine in the middle of a push, and how it stands afterwards.

A strike is a function of the LAN and a machine's name. The machine has a disk of its own kind
("ext4"), serves the release it has kept, and is pushed what the operator's topology asks for.
"""

import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kome_tui.fleet.script import script_of
from tests.contract import PushAnswer
from tests.machines.lan import Lan
from tests.machines.machine import Machine
from tests.machines.pushes import SCRIPT, ask, begin_trial, served, wanted_release
from tests.roles import Role, role_of
from tests.waiting import wait_until

SOON_S = 60.0


@dataclass(frozen=True)
class Afterwards:
    """How a machine stands once the strike is over."""

    old: str
    new: str
    served: str
    status: dict[str, str]
    """The lines of the node script's `status`."""
    told: str = ""
    """The outcome that the operator's console has ended with; empty where there was none."""
    meanwhile: str = ""
    """What the strike itself has heard of the node."""
    recovered_first: bool = True
    """Whether the boot's recover had ended before nginx began."""


Strike = Callable[[Lan, str], Afterwards]


def power_cut(point: str) -> Strike:
    """The power fails where the node script comes to one of its named points.

    Of the disk, only what was synced is there afterwards. The console waits, and is told.
    """

    def strike(lan: Lan, name: str) -> Afterwards:
        machine, old = lan[name], served(lan, name)
        hold_at(point, lan, machine)
        with lan.operator.start_kome_tui("deploy", "--json", name) as console:
            cut_where_it_holds(lan, machine)
            out, err = console.communicate(timeout=120)
        assert "Traceback" not in err
        told = PushAnswer.model_validate_json(out).nodes[name].outcome
        return afterwards(lan, name, old, told=told)

    return strike


def power_cut_on_the_way_back(lan: Lan, name: str) -> Afterwards:
    """The same where a trial that nobody has confirmed is just taken back."""
    old = served(lan, name)
    hold_at("runner.decided", lan, lan[name])
    begin_trial(lan, name, seconds=1)
    cut_where_it_holds(lan, lan[name])
    return afterwards(lan, name, old)


def full_disk(lan: Lan, name: str) -> Afterwards:
    """The disk fills during a trial, and is full while that is taken back."""
    old = served(lan, name)
    begin_trial(lan, name, seconds=600)
    lan[name].fill_disk()
    try:
        decided = ask(lan, name, "cancel token=test-1")["decision"]
        return afterwards(lan, name, old, meanwhile=decided)
    finally:
        lan[name].empty_disk()


def failed_disk(lan: Lan, name: str) -> Afterwards:
    """The disk turns read-only during a trial, the runner dies, and there is a reboot."""
    old = served(lan, name)
    begin_trial(lan, name, seconds=600)
    lan[name].fail_disk()
    confirmed = ask(lan, name, "confirm token=test-1")["end"]
    kill_script(lan[name], "runner")

    def degraded() -> str:
        last = ask(lan, name, "status")["last"]
        return last if last.startswith("degraded ") else ""

    status = wait_until(degraded, SOON_S, every_s=0.3)
    lan[name].reboot()
    return afterwards(lan, name, old, meanwhile=f"confirm {confirmed}, status {status}")


def runner_and_guard_killed(lan: Lan, name: str) -> Afterwards:
    """Both are killed: nobody is left, until somebody comes."""
    old = served(lan, name)
    begin_trial(lan, name, seconds=600)
    kill_script(lan[name], "guard", "runner")
    meanwhile = ask(lan, name, "recover")["decision"]
    return afterwards(lan, name, old, meanwhile=meanwhile)


STRIKES: Mapping[str, Strike] = {
    "S": power_cut("verb.received"),
    "A": power_cut("verb.guarded"),
    "J": power_cut("verb.journaled"),
    "W": power_cut("runner.switched"),
    "R": power_cut("runner.reloaded"),
    "C-before": power_cut("verb.deciding"),
    "C-after": power_cut("verb.decided"),
    "B": power_cut_on_the_way_back,
    "full disk": full_disk,
    "failed disk": failed_disk,
    "runner and guard": runner_and_guard_killed,
}
"""The power cuts by the step of a push; the others by what they are."""


def strike_all(lan: Lan) -> Mapping[str, Afterwards]:
    """Every strike on a machine of its own, all at once: most of their time is waiting.

    No machine needs mending afterwards.
    """
    with ThreadPoolExecutor(len(STRIKES)) as threads:
        begun = {
            what: threads.submit(strike, lan, name)
            for name, (what, strike) in zip(lan.machines, STRIKES.items(), strict=True)
        }
    return {what: strike.result() for what, strike in begun.items()}


def afterwards(lan: Lan, name: str, old: str, *, told: str = "", meanwhile: str = "") -> Afterwards:
    """Look at the machine once more."""
    status = ask(lan, name, "status")
    return Afterwards(
        old,
        wanted_release(lan, name).id,
        served(lan, name),
        status,
        told,
        meanwhile,
        recovered_first(lan[name]),
    )


def hold_at(point: str, lan: Lan, machine: Machine) -> None:
    """Let the node script stand still where it comes to one of its named points."""
    script = script_of(lan.topology, machine.name)
    holds = f"KOME_TEST=1\nKOME_FP={point}\nKOME_FP_SIGNAL=STOP\n"
    machine.write_file(SCRIPT, script.replace("KOME_TEST=0\n", holds), 0o755)


def cut_where_it_holds(lan: Lan, machine: Machine) -> None:
    """Cut the power there, and switch it on again, with the script as it was."""
    wait_until(lambda: _stopped(machine), SOON_S, every_s=0.3)
    machine.cut_power()
    machine.write_file(SCRIPT, script_of(lan.topology, machine.name), 0o755)
    machine.boot()


def recovered_first(machine: Machine) -> bool:
    """Whether the unit that runs at boot had ended before nginx's first process began."""

    def moment(unit: str, which: str) -> int:  # in microseconds since the boot
        return int(machine.run(f"systemctl show --value -p {which} {unit}").out)

    recovered = moment("kome-recover", "ExecMainExitTimestampMonotonic")
    return 0 < recovered <= moment("nginx", "ExecMainStartTimestampMonotonic")


def kill_script(machine: Machine, *roles: Role) -> None:
    """Kill the node script's own processes of these roles, in this order."""
    for role in roles:
        for pid in machine.processes():
            if role_of(pid, SCRIPT) == role:
                os.kill(pid, signal.SIGKILL)


def _stopped(machine: Machine) -> bool:
    """Whether a process of the machine is in the state T of proc(5)."""
    states = (_read(process, "stat").rpartition(") ")[2][:1] for process in machine.processes())
    return "T" in states


def _read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
