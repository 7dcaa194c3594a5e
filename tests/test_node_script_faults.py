"""The node script when its processes, nginx or the console die: old or new, never half."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_machine import Built, Machine
from tests.roles import Role
from tests.waiting import wait_until


@pytest.fixture
def one(machine: Machine) -> Built:
    """A release that serves and is confirmed."""
    built = machine.release("one")
    machine.push(built, "t1")
    return built


@pytest.fixture
def two(machine: Machine, one: Built) -> Built:
    """A further release, staged."""
    built = machine.release("two")
    assert machine.stage(built).end == "ok"
    return built


def the(machine: Machine, role: Role) -> int:
    """The pid of the running runner or guard."""
    return wait_until(lambda: machine.of_push(role))[0]


def processes_of_a_push(machine: Machine) -> list[int]:
    return machine.processes(f"{machine.script} ")


def is_quiet(machine: Machine) -> None:
    """Nothing of a push is left running, and the lock is free."""
    wait_until(lambda: not processes_of_a_push(machine))
    assert machine.run("status")["busy"] == "-"


def test_runner_killed_in_the_trial_guard_goes_back_within_2_s(
    machine: Machine, one: Built, two: Built
) -> None:
    assert machine.apply(two, "t2").end == "ok"
    started = time.monotonic()
    os.kill(the(machine, "runner"), signal.SIGKILL)
    wait_until(lambda: machine.page() == "one", within_s=2.0)
    assert time.monotonic() - started < 2.0
    machine.agrees(one.id, "one")
    answer = machine.run("confirm", token="t2")
    assert answer["decision"] == "rolled-back"
    assert answer["reason"] == "the process that ran the trial died"
    is_quiet(machine)


def test_guard_killed_changes_nothing_for_the_trial(
    machine: Machine, one: Built, two: Built
) -> None:
    assert machine.apply(two, "t2").end == "ok"
    os.kill(the(machine, "guard"), signal.SIGKILL)
    assert machine.run("confirm", token="t2")["decision"] == "confirmed"
    machine.agrees(two.id, "two")
    is_quiet(machine)


def kill_runner_and_guard(machine: Machine) -> None:
    guard, runner = the(machine, "guard"), the(machine, "runner")
    os.kill(guard, signal.SIGKILL)
    os.kill(runner, signal.SIGKILL)
    wait_until(lambda: not machine.processes(f"{machine.script} "))
    assert machine.page() == "two"


def test_guard_that_dies_before_its_word_ends_the_push(
    machine: Machine, one: Built, two: Built
) -> None:
    """It is the one who makes sure of the way back: without it nothing is switched."""
    begins = "guard() { # TOKEN\n    ROLE=guard\n"
    text = machine.script.read_text()
    assert begins in text
    machine.script.write_text(text.replace(begins, f"{begins}    fp born\n"))
    answer = machine.apply(two, "t2", fault="guard.born")
    assert answer.end == "failed the guard does not start"
    machine.agrees(one.id, "one")
    is_quiet(machine)


@pytest.mark.parametrize("contact", ["recover", "confirm", "cancel", "apply"])
def test_runner_and_guard_killed_next_contact_goes_back(
    machine: Machine, one: Built, two: Built, contact: str
) -> None:
    assert machine.apply(two, "t2").end == "ok"
    kill_runner_and_guard(machine)
    match contact:
        case "recover":
            answer = machine.run("recover")
            assert (answer["decision"], answer["degraded"]) == ("rolled-back", "no")
        case "apply":
            assert machine.apply(one, "t3").end == "ok"
            assert machine.run("cancel", token="t3")["decision"] == "rolled-back"
        case _:
            assert machine.run(contact, token="t2")["decision"] == "rolled-back"
    machine.agrees(one.id, "one")
    is_quiet(machine)


def test_recover_is_harmless_when_there_is_nothing_to_do(machine: Machine, one: Built) -> None:
    for _ in range(2):
        answer = machine.run("recover")
        assert answer.keys == {"decision": "-", "live": one.id, "degraded": "no", "reason": "-"}
    machine.agrees(one.id, "one")


def test_recover_before_nginx_starts_does_not_start_it(
    machine: Machine, one: Built, two: Built
) -> None:
    """The boot unit's contact, after a power cut in the trial."""
    assert machine.apply(two, "t2").end == "ok"
    kill_runner_and_guard(machine)
    for pid in machine.processes("nginx: "):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not machine.processes("nginx: "))
    assert machine.run("recover", at="boot")["decision"] == "rolled-back"
    assert machine.live() == one.id
    assert machine.processes("nginx: ") == []
    machine.start_nginx()
    machine.agrees(one.id, "one")


def test_nginx_killed_in_the_trial_is_started_on_the_old_release(
    machine: Machine, one: Built, two: Built
) -> None:
    assert machine.apply(two, "t2").end == "ok"
    os.kill(machine.master() or 0, signal.SIGKILL)  # its workers hold the port, and serve on
    wait_until(lambda: not (machine.state / "journal").exists(), within_s=15)
    machine.agrees(one.id, "one")
    assert machine.run("confirm", token="t2")["reason"] == "nginx died during the trial"
    assert machine.run("status")["nginx"] == "serving"


def test_nginx_stopped_before_confirm_is_never_confirmed(
    machine: Machine, one: Built, two: Built
) -> None:
    assert machine.apply(two, "t2").end == "ok"
    os.kill(machine.master() or 0, signal.SIGTERM)
    wait_until(lambda: machine.page() is None or machine.page() == "one")
    answer = machine.run("confirm", token="t2")
    assert answer.end.startswith("refused not serving") or answer["decision"] == "rolled-back"
    machine.agrees(one.id, "one")


APPLY_FAULTS = [
    "verb.guarded",
    "verb.journaled",
    "runner.start",
    "runner.switched",
    "runner.reloaded",
    "runner.proved",
]


@pytest.mark.parametrize("fault", APPLY_FAULTS)
def test_killed_at_a_step_of_apply_goes_back(
    machine: Machine, one: Built, two: Built, fault: str
) -> None:
    answer = machine.apply(two, "t2", fault=fault)
    if fault.startswith("runner"):
        assert answer.end == "rolled-back the process that ran the trial died"
        assert answer["live"] == one.id
    else:
        assert answer.code == -signal.SIGKILL
    machine.agrees(one.id, "one")
    is_quiet(machine)
    machine.push(two, "t3")


@pytest.mark.parametrize("step", ["decided", "restored", "told"])
def test_killed_while_going_back_is_finished_by_the_guard(
    machine: Machine, one: Built, two: Built, step: str
) -> None:
    answer = machine.apply(two, "t2", trial=0.2, fault=f"runner.{step}")
    assert answer.end == "ok"
    machine.agrees(one.id, "one")
    assert machine.run("cancel", token="t2")["reason"] == "not confirmed in time"
    is_quiet(machine)


@pytest.mark.parametrize("fault", ["runner.decision", "runner.forward"])
def test_runner_killed_after_the_decision_stays_confirmed(
    machine: Machine, one: Built, two: Built, fault: str
) -> None:
    assert machine.apply(two, "t2", fault=fault).end == "ok"
    assert machine.run("confirm", token="t2")["decision"] == "confirmed"
    machine.agrees(two.id, "two")
    assert machine.run("status")["previous"] == one.id
    is_quiet(machine)


@pytest.mark.parametrize(
    ("fault", "ends"), [("verb.deciding", "rolled-back"), ("verb.decided", "confirmed")]
)
def test_confirm_killed_is_told_by_the_disk(
    machine: Machine, one: Built, two: Built, fault: str, ends: str
) -> None:
    assert machine.apply(two, "t2", trial=1).end == "ok"
    assert machine.run("confirm", token="t2", fault=fault).code == -signal.SIGKILL
    wait_until(lambda: not (machine.state / "journal").exists())
    assert machine.run("confirm", token="t2")["decision"] == ends
    machine.agrees(*((two.id, "two") if ends == "confirmed" else (one.id, "one")))


@pytest.mark.parametrize("fault", ["verb.archived", "verb.adopted"])
def test_killed_while_keeping_the_original_can_be_repeated(machine: Machine, fault: str) -> None:
    built = machine.release("one")
    machine.stage(built)
    assert machine.apply(built, "t1", fault=fault).code == -signal.SIGKILL
    assert machine.page() == "before kome"
    machine.push(built, "t2")
    machine.agrees(built.id, "one")
    kept = set(machine.run("status")["kept"].split())
    assert kept == {"original", built.id}


@pytest.mark.parametrize("fault", ["verb.receiving", "verb.received", "verb.staged"])
def test_killed_in_stage_leaves_no_half_release(machine: Machine, one: Built, fault: str) -> None:
    two = machine.release("two")
    assert machine.stage(two, fault=fault).code == -signal.SIGKILL
    machine.agrees(one.id, "one")
    machine.push(two, "t2")
    is_quiet(machine)
    assert list((machine.state / "releases").glob(".*")) == []


def test_half_written_journal_is_no_transaction(machine: Machine, one: Built, two: Built) -> None:
    (machine.state / "journal").mkdir()
    (machine.state / "journal/txn").write_text("")
    machine.push(two, "t2")
    machine.agrees(two.id, "two")


def test_trial_ends_leave_no_process_and_no_lock(machine: Machine, one: Built, two: Built) -> None:
    """Also not in an nginx that the runner itself has started."""
    os.kill(machine.master() or 0, signal.SIGTERM)
    wait_until(lambda: not machine.processes("nginx: "))
    machine.push(two, "t2")
    is_quiet(machine)
    for pid in machine.processes("nginx: "):
        opened = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        assert f"{machine.root}/run/lock" not in opened
        assert f"{machine.root}/run/wake" not in opened
    machine.push(one, "t3")


@pytest.mark.parametrize(("first", "verb"), [("rolled-back", "confirm"), ("confirmed", "cancel")])
def test_only_the_first_decision_counts(
    machine: Machine, one: Built, two: Built, first: str, verb: str
) -> None:
    """The console and the deadline decide in the same moment: the runner is held at that point."""
    assert machine.apply(two, "t2").end == "ok"
    runner = the(machine, "runner")
    os.kill(runner, signal.SIGSTOP)
    (machine.state / "journal/decision").symlink_to(first)
    machine.run(verb, token="t2", fault="verb.decided")
    os.kill(runner, signal.SIGCONT)
    machine.agrees(*((two.id, "two") if first == "confirmed" else (one.id, "one")))
    assert machine.run(verb, token="t2")["decision"] == first


# ---------------------------------------------------------------- a disk that takes nothing


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Machine]:
    """A node whose state lies on a file system of its own, of 4 MB."""
    made = Machine(tmp_path)
    made.state.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4M,nr_inodes=1000", "tmpfs", made.state], check=True
    )
    try:
        made.start_nginx()
        yield made
    finally:
        made.close()
        subprocess.run(["umount", made.state], check=True)


def fill(machine: Machine) -> None:
    filler = os.open(machine.state / "filler", os.O_CREAT | os.O_WRONLY)
    try:
        with contextlib.suppress(OSError):
            while True:
                os.write(filler, b"x" * 4096)
    finally:
        os.close(filler)


def remount(machine: Machine, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", machine.state], check=True)


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@needs_mount
def test_full_disk_refuses_with_free_and_needed(small_disk: Machine) -> None:
    machine = small_disk
    one, two = machine.release("one"), machine.release("two")
    machine.push(one, "t1")
    machine.stage(two)
    fill(machine)
    full = "refused the disk is full: 0 KB free, "
    assert machine.stage(machine.release("three")).end.startswith(full)
    assert machine.apply(two, "t2").end.startswith(full)
    machine.agrees(one.id, "one")


@needs_mount
def test_little_room_refuses_a_release_and_still_lets_the_node_go_back(
    small_disk: Machine,
) -> None:
    machine = small_disk
    one, two = machine.release("one"), machine.release("two")
    machine.push(one, "t1")
    machine.push(two, "t2")
    fill(machine)
    filler = machine.state / "filler"
    os.truncate(filler, filler.stat().st_size - 128 * 1024)
    refused = machine.stage(machine.release("three")).end
    assert re.fullmatch(r"refused the disk is full: 1\d\d KB free, 3\d\d KB needed", refused)
    assert machine.run("rollback", to=one.id, token="t3", trial=30, by="ops").end == "ok"
    assert machine.run("confirm", token="t3")["decision"] == "confirmed"
    machine.agrees(one.id, "one")


@needs_mount
def test_disk_that_fills_in_the_trial_still_goes_back(small_disk: Machine) -> None:
    machine = small_disk
    one, two = machine.release("one"), machine.release("two")
    machine.push(one, "t1")
    machine.stage(two)
    assert machine.apply(two, "t2", trial=0.5).end == "ok"
    fill(machine)
    machine.agrees(one.id, "one")
    assert machine.run("confirm", token="t2")["decision"] == "rolled-back"


@needs_mount
def test_disk_that_fills_in_the_trial_can_still_be_confirmed(small_disk: Machine) -> None:
    machine = small_disk
    one, two = machine.release("one"), machine.release("two")
    machine.push(one, "t1")
    machine.stage(two)
    assert machine.apply(two, "t2").end == "ok"
    fill(machine)
    assert machine.run("confirm", token="t2")["decision"] == "confirmed"
    machine.agrees(two.id, "two")


@needs_mount
def test_read_only_disk_in_the_trial_is_degraded_until_it_can_be_written(
    small_disk: Machine,
) -> None:
    machine = small_disk
    one, two = machine.release("one"), machine.release("two")
    machine.push(one, "t1")
    machine.stage(two)
    assert machine.apply(two, "t2", trial=0.5).end == "ok"
    remount(machine, "ro")
    assert machine.run("confirm", token="t2").end.startswith(
        "refused the decision cannot be written"
    )
    wait_until(lambda: machine.run("status")["busy"] == "-")
    status = machine.run("status")
    assert status["last"].startswith(f"degraded {two.id} ")
    assert status["trial"] == two.id
    answer = machine.run("recover")
    assert (answer["decision"], answer["degraded"], answer["live"]) == (
        "rolled-back",
        "yes",
        two.id,
    )
    remount(machine, "rw")
    answer = machine.run("recover")
    assert (answer["decision"], answer["degraded"], answer["live"]) == ("rolled-back", "no", one.id)
    machine.agrees(one.id, "one")


@needs_mount
def test_folder_too_large_to_be_kept_leaves_the_disk_as_it_was(small_disk: Machine) -> None:
    machine = small_disk
    (machine.root / "etc/huge").write_bytes(bytes(6 << 20))
    one = machine.release("one")
    machine.stage(one)
    assert machine.apply(one, "t1").end.startswith("failed cannot keep what")
    assert [entry.name for entry in (machine.state / "releases").iterdir()] == [one.id]
    (machine.root / "etc/huge").unlink()
    machine.push(one, "t2")
    machine.agrees(one.id, "one")


@pytest.mark.parametrize("again", ["another release", "the same release"])
def test_lock_that_was_removed_in_a_trial_loses_no_later_push(
    machine: Machine, one: Built, two: Built, again: str
) -> None:
    """As by somebody who reads "busy" and empties the folder of the lock by hand."""
    assert machine.apply(two, "t2", trial=6).end == "ok"
    runner = the(machine, "runner")
    (machine.root / "run/lock").unlink()
    page = "three" if again == "another release" else "two"
    later = machine.release(page)
    machine.push(later, "t3")
    wait_until(lambda: not Path(f"/proc/{runner}").exists())
    is_quiet(machine)
    machine.agrees(later.id, page)
    assert machine.run("confirm", token="t3")["decision"] == "confirmed"


def test_journal_that_was_removed_in_a_trial_does_not_keep_the_release(
    machine: Machine, one: Built, two: Built
) -> None:
    assert machine.apply(two, "t2", trial=1).end == "ok"
    shutil.rmtree(machine.state / "journal")
    wait_until(lambda: machine.page() == "one")
    is_quiet(machine)
    machine.agrees(one.id, "one")
