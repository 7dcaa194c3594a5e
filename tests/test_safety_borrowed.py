"""Seven bugs that other confirmed-commit systems shipped, and what happens here instead.

The reports: netopeer2 #1207, #1251, #1345, #1371, #1826, pull request #1395; deploy-rs #214.
"""

import re
import threading
import time
from pathlib import Path

import pytest

from kome_tui.cli.push import EXIT
from kome_tui.release.deploy import deploy
from tests.node_machine import Built, Machine
from tests.release_fleet import scripted_fleet
from tests.waiting import wait_until
from trials.push import broken, kill_all, reboot, release, script_processes

ROOT = Path(__file__).parent.parent


@pytest.fixture
def old(machine: Machine) -> Built:
    built = release(machine, "page-0")
    machine.push(built, "token-0")
    return built


def trial(machine: Machine, page: str, token: str, trial_s: float = 30) -> Built:
    """A release that serves on trial."""
    built = release(machine, page)
    assert machine.stage(built).end == "ok"
    assert machine.apply(built, token, trial=trial_s).end == "ok"
    return built


def test_an_overdue_rollback_runs_at_boot(machine: Machine, old: Built) -> None:
    new = trial(machine, "page-1", "token-1", trial_s=0.3)
    kill_all(machine, Machine.processes)  # the power is off when the deadline comes
    reboot(machine)
    assert broken(machine, old, new, "rolled-back") == []


def test_nothing_is_stuck_after_a_restart(machine: Machine, old: Built) -> None:
    trial(machine, "page-1", "token-1")
    kill_all(machine, Machine.processes)
    reboot(machine)
    again = release(machine, "page-2")
    machine.push(again, "token-2")
    assert broken(machine, again, again, "confirmed") == []


def test_a_rollback_needs_nothing_of_the_session_that_began_it(
    machine: Machine, old: Built
) -> None:
    """Its exec has ended, its environment is gone, its folder is another."""
    new = trial(machine, "page-1", "token-1", trial_s=0.5)
    machine.env.clear()
    machine.env["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    wait_until(lambda: not (machine.state / "journal").exists())
    assert broken(machine, old, new, "rolled-back") == []


def test_a_confirmed_change_stays_after_restarts(machine: Machine, old: Built) -> None:
    new = release(machine, "page-1")
    machine.push(new, "token-1")
    for _ in range(2):
        kill_all(machine, Machine.processes)
        reboot(machine)
        assert broken(machine, old, new, "confirmed") == []


def test_a_failed_push_leaves_no_armed_rollback(machine: Machine, old: Built) -> None:
    """It goes back once; what is pushed next is not taken back by the one before."""
    wrong = machine.release("page-1", marker="another-id")
    assert machine.stage(wrong).end == "ok"
    assert machine.apply(wrong, "token-1", trial=0.5).end.startswith("rolled-back")
    wait_until(lambda: not script_processes(machine))
    assert not (machine.state / "journal").exists()
    new = release(machine, "page-2")
    machine.push(new, "token-2")
    passed = time.monotonic() + 0.7  # past the first one's deadline: nothing may come
    wait_until(lambda: time.monotonic() > passed)
    assert broken(machine, old, new, "confirmed") == []


def test_a_second_push_does_not_overwrite_the_way_back(machine: Machine, old: Built) -> None:
    new = trial(machine, "page-1", "token-1", trial_s=2)
    other = release(machine, "page-2")
    assert machine.stage(other).end == "ok"
    assert machine.apply(other, "token-2").end.startswith("busy")
    wait_until(lambda: not (machine.state / "journal").exists())
    assert broken(machine, old, new, "rolled-back") == []


def test_a_rolled_back_push_is_never_a_success() -> None:
    with scripted_fleet() as fleet:
        fleet.nodes["kome"].answers = "bbbbbbbbbbbb"
        report = deploy(
            fleet.topology,
            fleet,
            tuple(fleet.nodes),
            report=lambda _: None,
            stop=threading.Event(),
        )

    assert report.nodes["kome"].outcome == "rolled-back"
    assert report.result == "failed"
    assert EXIT[report.result] == 1


def test_every_test_that_the_documents_name_is_there() -> None:
    text = (ROOT / "docs/safety.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    named = re.findall(r"`(?:tests/\w+\.py::)?(test_\w+)`", text)

    assert len(named) > 30
    missing = [name for name in named if f"def {name}(" not in tests]
    assert missing == []
