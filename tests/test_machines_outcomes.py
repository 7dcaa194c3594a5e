"""Pushes to eleven real machines of which one is broken: what is told of it, and of the others.

Every machine lies on an ext4 file system of its own and serves the shipped topology's release.
Each test pushes a topology that no other has pushed, and puts back only what it has broken.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

import pytest

from kome_tui.nginx.render import render_release
from tests.contract import PlanAnswer
from tests.machines.disk import DiskSpec
from tests.machines.image import Image
from tests.machines.lan import Lan
from tests.machines.machine import Machine, MachineSpec
from tests.machines.node import set_up_node
from tests.machines.operator import TOPOLOGY
from tests.machines.pushes import all_served, ask, begin_trial, push, served, want
from tests.machines.strikes import Afterwards, strike_all
from tests.machines.terminal import console, processes
from tests.waiting import wait_until

SPEC = MachineSpec("serving", disk=DiskSpec("ext4", mb=64, inodes=8_192))
NODES = ("kome", *(f"node-{number:02d}" for number in range(1, 11)))
CANARIES = {"node-01", "node-03", "node-07", "node-09"}
NUMBERS = count(11)
LIMIT_S = 60.0
"""No push waits longer for a broken node: four times the connect timeout, and a busy computer."""

HELD_PORT = """
use Socket;
socket(my $socket, PF_INET, SOCK_STREAM, 0) or die $!;
bind($socket, pack_sockaddr_in(8080, INADDR_ANY)) or die $!;
fork and exit;
sleep;
"""
"""A service that has a port and does not listen; it counts as started once it has it."""


@pytest.fixture(scope="module")
def lan(machines: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    with Lan(machines, tmp_path_factory.mktemp("lan"), spec=SPEC) as made:
        made.each(lambda machine: set_up_node(machine, made.topology))
        first = push(made)
        assert first.outcomes == all_but("committed")
        made.each(Machine.keep)
        made.boot()
        yield made


def all_but(outcome: str, **others: str) -> dict[str, str]:
    """What is expected of every node; `node_03="refused"` is one that differs."""
    differing = {name.replace("_", "-"): other for name, other in others.items()}
    return {name: differing.get(name, outcome) for name in NODES}


def want_new(lan: Lan, **replaced: str) -> dict[str, str]:
    """Ask for releases that no node has seen; their ids."""
    return want(lan, next(NUMBERS), **replaced)


@contextmanager
def put_back(lan: Lan, name: str) -> Iterator[Machine]:
    """A machine that the block may break in any way."""
    try:
        yield lan[name]
    finally:
        lan.reset([name])


# ---------------------------------------------------------------- nothing is broken


def test_a_change_is_committed_on_all_eleven(lan: Lan) -> None:
    before, wanted = all_served(lan), want_new(lan)
    seen = push(lan)
    assert (seen.result, seen.outcomes) == ("ok", all_but("committed"))
    assert seen.releases == wanted == all_served(lan)
    assert {name: node.previous for name, node in seen.answer.nodes.items()} == before
    assert {node.reason for node in seen.answer.nodes.values()} == {None}
    order = seen.switched()
    assert (set(order[:4]), order[-1]) == (CANARIES, "kome")


def test_a_push_of_what_is_served_leaves_every_nginx_alone(lan: Lan) -> None:
    def workers() -> list[str]:
        asked = "cat /proc/$(cat /run/nginx.pid)/task/*/children"
        return [lan[name].run(asked).out for name in NODES]

    push(lan)
    before = workers()
    seen = push(lan)
    assert (seen.result, seen.outcomes) == ("ok", all_but("unchanged"))
    assert seen.releases == all_served(lan)
    assert workers() == before


# ---------------------------------------------------------------- one node cannot be reached


def test_a_dead_node_is_skipped_and_the_next_of_its_role_is_the_canary(lan: Lan) -> None:
    wanted = want_new(lan)
    with put_back(lan, "node-01") as machine:
        machine.kill()
        seen = push(lan)
    assert (seen.result, seen.outcomes) == ("failed", all_but("committed", node_01="unreachable"))
    assert seen.releases == {**wanted, "node-01": None}
    assert "192.168.86.41:22 does not answer" in seen.reason("node-01")
    assert set(seen.switched()[:4]) == CANARIES - {"node-01"} | {"node-02"}
    assert seen.answer.seconds < LIMIT_S
    again = push(lan)
    assert (again.result, again.outcomes) == ("ok", all_but("unchanged", node_01="committed"))
    assert all_served(lan) == wanted


def test_a_hung_node_is_skipped_and_the_others_are_pushed(lan: Lan) -> None:
    wanted, before = want_new(lan), served(lan, "node-05")
    lan["node-05"].freeze()
    try:
        seen = push(lan)
    finally:
        lan["node-05"].thaw()
    assert (seen.result, seen.outcomes) == ("failed", all_but("committed", node_05="unreachable"))
    assert "192.168.86.45:22" in seen.reason("node-05")
    assert seen.answer.seconds < LIMIT_S
    assert all_served(lan) == {**wanted, "node-05": before}


def test_a_node_with_another_host_key_is_not_talked_to(lan: Lan) -> None:
    wanted = want_new(lan)
    with put_back(lan, "node-07") as machine:
        before = served(lan, "node-07")
        machine.change_host_key()
        seen = push(lan)
        assert all_served(lan) == {**wanted, "node-07": before}
    assert (seen.result, seen.outcomes) == ("failed", all_but("committed", node_07="unreachable"))
    assert seen.reason("node-07").count("SHA256:") == 2
    assert "node-07" not in seen.switched()


# ---------------------------------------------------------------- one node refuses


def test_a_full_disk_refuses_and_nothing_is_changed_anywhere(lan: Lan) -> None:
    before, _ = all_served(lan), want_new(lan)
    lan["node-06"].fill_disk()
    try:
        seen = push(lan)
    finally:
        lan["node-06"].empty_disk()
    assert (seen.result, seen.outcomes) == ("refused", all_but("untouched", node_06="refused"))
    # a few KB may have come free: the machine's own services write too
    assert re.search(r"the disk is full: \d+ KB free, \d+ KB needed", seen.reason("node-06"))
    assert "since node-06 refused" in seen.reason("kome")
    assert seen.releases == before == all_served(lan)


def test_a_disk_that_has_failed_refuses_and_nothing_is_changed_anywhere(lan: Lan) -> None:
    before, _ = all_served(lan), want_new(lan)
    with put_back(lan, "node-08") as machine:
        machine.fail_disk()
        seen = push(lan)
        assert (seen.result, seen.outcomes) == ("refused", all_but("untouched", node_08="refused"))
        assert seen.releases == before == all_served(lan)


def test_a_change_by_hand_is_refused_until_it_is_accepted(lan: Lan) -> None:
    before, wanted = all_served(lan), want_new(lan)
    lan["node-04"].run("sed -i 's/^events/# by hand\\nevents/' /etc/nginx/nginx.conf")
    refused = push(lan)
    assert refused.outcomes == all_but("untouched", node_04="refused")
    assert refused.result == "refused"
    assert "--accept-drift" in refused.reason("node-04")
    assert refused.releases == before == all_served(lan)
    ran = lan.operator.kome_tui("plan", "--json", "node-04")
    told = PlanAnswer.model_validate_json(ran.out).nodes["node-04"]
    assert (ran.code, told.drift) == (3, True)
    assert "\n-# by hand\n" in told.diff
    accepted = push(lan, "--accept-drift")
    assert (accepted.result, accepted.outcomes) == ("ok", all_but("committed"))
    assert accepted.releases == wanted == all_served(lan)


def test_a_node_on_trial_for_another_console_refuses(lan: Lan) -> None:
    want_new(lan)
    before = served(lan, "node-10")
    theirs = begin_trial(lan, "node-10", seconds=600)
    want_new(lan)
    seen = push(lan)
    assert (seen.result, seen.outcomes) == ("refused", all_but("untouched", node_10="refused"))
    assert f"release {theirs.id} is on trial there" in seen.reason("node-10")
    assert ask(lan, "node-10", "confirm token=of-another")["end"].startswith("refused ")
    assert ask(lan, "node-10", "cancel token=test-1")["decision"] == "rolled-back"
    assert served(lan, "node-10") == before


# ---------------------------------------------------------------- one node fails while it switches


def test_the_first_failure_stops_the_waves_and_a_second_push_goes_on(lan: Lan) -> None:
    """Something holds the new port without listening: `nginx -t` passes, the reload fails."""
    before = all_served(lan)
    address = "node-03: {role: cache-stream, address: 192.168.86.43"
    wanted = want_new(lan, port=f"{address} => {address}, port: 8080")
    lan["node-03"].run(
        ["systemd-run", "--quiet", "--service-type=forking", "perl", "-e", HELD_PORT]
    )
    seen = push(lan)
    canaries = dict.fromkeys(("node_01", "node_07", "node_09"), "committed")
    assert (seen.result, seen.outcomes) == (
        "failed",
        all_but("untouched", **canaries, node_03="rolled-back"),
    )
    assert "98: Address already in use" in seen.reason("node-03")
    assert "the push stopped after node-03" in seen.reason("kome")
    switched = {name: wanted[name] for name in CANARIES - {"node-03"}}
    assert seen.releases == {**before, **switched} == all_served(lan)
    wanted = want_new(lan)
    again = push(lan)
    assert (again.result, again.outcomes) == ("ok", all_but("committed"))
    assert all_served(lan) == wanted


def test_a_stopped_nginx_is_started_in_its_own_unit(lan: Lan) -> None:
    wanted = want_new(lan)
    lan["node-09"].run("systemctl stop nginx")
    seen = push(lan)
    assert (seen.result, seen.outcomes) == ("ok", all_but("committed"))
    assert lan["node-09"].run("systemctl is-active nginx").out == "active\n"
    assert all_served(lan) == wanted


# ---------------------------------------------------------------- from the console


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_one_key_of_the_console_pushes_to_all_eleven(lan: Lan) -> None:
    def rows(lines: list[str], word: str) -> bool:
        shown = [line.split()[0] for line in lines if line.startswith("    ") and word in line]
        return [name for name in shown if name in NODES] == list(NODES)

    want_new(lan)
    push(lan)
    lan.operator.topology = TOPOLOGY
    wanted = {name: render_release(lan.topology, name).id for name in NODES}
    with console(lan.operator) as terminal:
        terminal.wait_for(lambda lines: rows(lines, " behind "))
        terminal.press("r")
        terminal.wait_for(lambda lines: rows(lines, " committed"))
        assert all_served(lan) == wanted
        terminal.press("q")
        wait_until(lambda: processes(lan.operator) == [], 30)


# ---------------------------------------------------------------- a node is struck in its push


@pytest.fixture(scope="module")
def struck(lan: Lan) -> Mapping[str, Afterwards]:
    """Every strike by its name, and how the machine that it struck stands afterwards."""
    want_new(lan)
    try:
        return strike_all(lan)
    except BaseException:
        lan.reset()
        raise


@pytest.mark.parametrize(
    ("step", "told"),
    [("S", "unreachable"), *((step, "rolled-back") for step in ("A", "J", "W", "R", "C-before"))],
)
def test_a_power_cut_is_old_before_nginx_starts(
    struck: Mapping[str, Afterwards], step: str, told: str
) -> None:
    seen = struck[step]
    assert seen.recovered_first
    assert (seen.served, seen.status["trial"], seen.told) == (seen.old, "-", told)


def test_a_power_cut_after_the_decision_is_new(struck: Mapping[str, Afterwards]) -> None:
    seen = struck["C-after"]
    assert (seen.served, seen.status["trial"], seen.told) == (seen.new, "-", "committed")


def test_a_power_cut_on_the_way_back_is_old(struck: Mapping[str, Afterwards]) -> None:
    seen = struck["B"]
    assert seen.recovered_first
    assert (seen.served, seen.status["trial"]) == (seen.old, "-")


def test_a_disk_that_fills_in_a_trial_lets_the_node_go_back(
    struck: Mapping[str, Afterwards],
) -> None:
    seen = struck["full disk"]
    assert (seen.meanwhile, seen.served) == ("rolled-back", seen.old)
    assert int(seen.status["disk_free"]) < 256 * 1024  # as little as no push would begin with


def test_a_disk_that_fails_in_a_trial_is_degraded_until_the_next_boot(
    struck: Mapping[str, Afterwards],
) -> None:
    seen = struck["failed disk"]
    assert "confirm refused the decision cannot be written" in seen.meanwhile
    assert "status degraded " in seen.meanwhile
    assert seen.recovered_first
    assert (seen.served, seen.status["trial"]) == (seen.old, "-")


def test_runner_and_guard_killed_the_next_contact_goes_back(
    struck: Mapping[str, Afterwards],
) -> None:
    seen = struck["runner and guard"]
    assert (seen.meanwhile, seen.served) == ("rolled-back", seen.old)
