"""The trials of SAFETY.md, in small: `make trials` runs the full counts (docs/measured.md)."""

import os
import shutil
from pathlib import Path

import pytest

from trials.consoles import two_consoles
from trials.interruptions import confirmed_and_lost, interruptions, runner_deaths
from trials.powercuts import power_cuts
from trials.steps import ALL, KILLS, STEPS, every_step, unlisted
from trials.tally import Tally, table

SEED = 20261125

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin") is None,
    reason="power cuts need root, loop devices and mkfs.ext4",
)


def test_random_interruptions_leave_old_or_new(tmp_path: Path) -> None:
    pushes, answers = interruptions(tmp_path / "node", 12, SEED)

    assert pushes.violations == []
    assert pushes.runs == 12
    assert answers.violations == []
    assert answers.runs > 100


@pytest.mark.timeout(300)
def test_killed_at_every_named_step_it_is_old_or_new(tmp_path: Path) -> None:
    """Each step once; which of the three kinds of kill goes by the step's place in the list."""
    pairs = tuple((step, KILLS[place % len(KILLS)]) for place, step in enumerate(STEPS))
    found = every_step(tmp_path, pairs)

    assert found.violations == []
    assert found.runs == len(STEPS) >= 20


def test_no_step_of_the_script_is_left_out() -> None:
    assert unlisted() == set()
    assert len(ALL) == len(STEPS) * 3


def test_confirmed_is_never_lost(tmp_path: Path) -> None:
    assert confirmed_and_lost(tmp_path / "node", 4, SEED).violations == []


def test_the_old_release_serves_within_2_s_of_the_runners_death(tmp_path: Path) -> None:
    found = runner_deaths(tmp_path / "node", 4, SEED)

    assert found.violations == []
    assert len(found.seconds) == 4


def test_of_two_consoles_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    assert two_consoles(tmp_path / "node", 4, SEED).violations == []


@needs_root
def test_power_cuts_leave_old_or_new(tmp_path: Path) -> None:
    assert power_cuts(tmp_path / "disk", 8, SEED).violations == []


@needs_root
@pytest.mark.timeout(300)
def test_without_fsync_power_cuts_do_harm(tmp_path: Path) -> None:
    """The same harness with a script that never syncs must see what the others are spared."""
    found = power_cuts(tmp_path / "disk", 80, SEED, fsync=False, stop_at_first=True)

    assert found.holds, found.row()


def test_a_table_names_every_violation() -> None:
    good, bad = Tally("good", 3), Tally("bad", 2, ["old was promised"])

    assert good.holds
    assert not bad.holds
    assert "VIOLATION bad: old was promised" in table([good, bad])
    assert not Tally("control", 5, control=True).holds
