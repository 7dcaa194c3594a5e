"""A push to one node by hand, step by step, so that it can be interrupted anywhere; and its check.

`told` is all that a console would know. `broken` compares it with files, links and nginx: old or
new, never half; new where "confirmed" was told, old where it was not even asked for.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.node_machine import Answer, Built, Machine, parsed
from tests.roles import Role
from tests.waiting import wait_until

SETTLED_S = 20.0
"""Longer than a trial, five binds of 500 ms and the way back together."""


def release(machine: Machine, page: str) -> Built:
    """A release whose answer at /probe names its id and its page in one piece."""
    probe = f'        location = /probe {{ access_log off; return 200 "@ID@ {page}"; }}'
    return machine.release(page, extra=probe)


@dataclass
class Push:
    """stage, apply and confirm in a thread of their own."""

    machine: Machine
    built: Built
    token: str
    trial_s: float = 1.0
    hold_s: float = 0.0
    """How long the console proves from outside before it confirms."""
    step: str = "not begun"
    answers: dict[str, Answer] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    cut: threading.Event = field(default_factory=threading.Event)
    """Set by the one who interrupts: the console does nothing more."""
    fault: tuple[str, str] = ("", "")
    """The verb, and the point at which it or its runner is to stop."""
    told_at: float = 0.0

    def start(self) -> threading.Thread:
        """Begin; join the thread to wait for the console's end."""
        thread = threading.Thread(target=self._run)
        thread.start()
        return thread

    @property
    def told(self) -> str:
        """`confirmed`, `rolled-back`, `asked` (confirm was sent, no answer came) or `not asked`."""
        answer = self.answers.get("confirm")
        if answer is not None and answer.end:
            return answer.keys.get("decision", "rolled-back")
        return "asked" if self.step in ("confirm", "over") and self._asked else "not asked"

    _asked: bool = False

    def _run(self) -> None:
        digest = hashlib.sha256(self.built.conf).hexdigest()
        size = len(self.built.conf)
        keys = {"id": self.built.id, "token": self.token, "trial": self.trial_s, "by": "ops.laptop"}
        steps: list[tuple[str, dict[str, object], bytes]] = [
            ("stage", {"id": self.built.id, "size": size, "sha256": digest}, self.built.conf),
            ("apply", dict(keys), b""),
            ("confirm", {"token": self.token}, b""),
        ]
        for verb, words, payload in steps:
            if verb == "confirm":
                self.cut.wait(self.hold_s)
            if self.cut.is_set():
                return
            self.step = verb
            self._asked = verb == "confirm"
            answer = self._exec(verb, words, payload)
            if answer is None:
                return
            self.answers[verb] = answer
            if answer.end != "ok":
                return
        self.told_at = time.monotonic()
        self.step = "over"

    def _exec(self, verb: str, words: dict[str, object], payload: bytes) -> Answer | None:
        fault = self.fault[1] if self.fault[0] == verb else ""
        process = self.machine.start(verb, fault=fault, **words)
        self.process = process
        try:
            out, err = process.communicate(payload, timeout=60)
            return parsed(process.returncode, out, err)
        except (OSError, ValueError, AssertionError):
            return None  # its pipes were cut, or it was killed before its first line


def everything(machine: Machine) -> list[int]:
    """All processes of the node, nginx too."""
    return machine.processes()


def script_processes(machine: Machine, role: Role | None = None) -> list[int]:
    """The node script's processes; those of one role where it is named."""
    return machine.of_push(role) if role else machine.processes(str(machine.script))


def holding(machine: Machine) -> int:
    """The process that holds still at its named step; waits for it."""

    def state(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            return ""

    return wait_until(
        lambda: next((pid for pid in script_processes(machine) if state(pid) == "T"), 0), 30
    )


def kill(pids: list[int]) -> int:
    """SIGKILL each; how many there still were."""
    killed = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def kill_all(machine: Machine, pids: Callable[[Machine], list[int]]) -> None:
    """SIGKILL until none is left: a process that just started another is not missed."""

    def none_left() -> bool:
        return kill(pids(machine)) == 0

    wait_until(none_left, SETTLED_S)


def reboot(machine: Machine) -> None:
    """What a power cut leaves (the disk), then what a boot does: recover, then nginx."""
    kill_all(machine, everything)
    for entry in Path(machine.layout.run).glob("*"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (machine.root / "nginx.pid").unlink(missing_ok=True)
    machine.run("recover", at="boot")
    machine.start_nginx()


def settle(machine: Machine) -> None:
    """Wait until the node has finished by itself, else make the next contact."""
    journal = machine.state / "journal"

    def alone_or_done() -> bool:
        return not journal.exists() or not script_processes(machine)

    wait_until(alone_or_done, SETTLED_S)
    if journal.exists() or machine.page() is None:
        machine.run("recover")
    if (
        machine.page() is None
    ):  # nobody but the boot starts an nginx that was stopped outside a push
        kill(machine.processes("nginx: "))
        wait_until(lambda: not machine.processes("nginx: "), SETTLED_S)
        machine.start_nginx()
    wait_until(lambda: not script_processes(machine), SETTLED_S)


def broken(machine: Machine, old: Built, new: Built, told: str) -> list[str]:
    """What is not as promised on a node that has settled."""
    found = []
    live = machine.live()
    allowed = {
        "confirmed": {new.id},
        "rolled-back": {old.id},
        "not asked": {old.id},
        "asked": {old.id, new.id},
    }[told]
    if live not in allowed:
        names = {old.id: "old", new.id: "new"}
        found.append(f"told {told!r}, but {names.get(live or '', live)} is live")
    page = {old.id: page_of(old), new.id: page_of(new)}.get(live or "")
    if machine.page() != page or machine.get("/probe") != f"{live} {page}":
        found.append(f"{live} is live, but nginx answers {machine.page()!r}")
    status = machine.run("status").keys
    wanted = {"live": live, "running": live, "drift": "no", "trial": "-", "busy": "-"}
    differing = {key: status.get(key) for key in wanted if status.get(key) != wanted[key]}
    if differing:
        found.append(f"status says {json.dumps(differing)}")
    for folder in (machine.state / "releases").iterdir():
        if not folder.name.startswith(".") and folder.name != "original":
            text = (folder / "nginx.conf").read_text().replace(folder.name, "@ID@")
            if not hashlib.sha256(text.encode()).hexdigest().startswith(folder.name):
                found.append(f"half a release is kept: {folder.name}")
    return found


def page_of(built: Built) -> str:
    """The page of a release made by release()."""
    return built.conf.decode().split('return 200 "')[-1].split('"')[0].partition(" ")[2]
