"""A push to real machines: systemd, sudo, Debian's nginx and layout, OpenSSH's sessions.

What the node script does by itself is proved on loopback; here are the parts that only a machine
has: the boot, the session that ends, the service manager, the rule that lets in one script.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.nginx.render import Release, render_release
from kome_tui.topology.load import load
from tests.contract import PushAnswer, StatusAnswer
from tests.machines.image import Image
from tests.machines.lan import Lan
from tests.machines.machine import Machine, MachineSpec
from tests.machines.node import set_up_node
from tests.machines.operator import TOPOLOGY
from tests.waiting import wait_until

NODES = ("kome", "node-03")
NODE = "node-03"
SCRIPT = "sudo -n /usr/local/sbin/kome-node"


def push(lan: Lan) -> PushAnswer:
    ran = lan.operator.kome_tui("deploy", "--json", *NODES)
    return PushAnswer.model_validate_json(ran.out)


@pytest.fixture
def fresh(small_lan: Lan) -> Iterator[Lan]:
    """Two nodes that were set up and still serve what Debian's nginx came with."""
    yield small_lan
    small_lan.reset()


@pytest.fixture(scope="module")
def read_only_lan(machines: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """Two nodes that serve the topology's release; for tests that change nothing."""
    spec = MachineSpec("serving")
    with Lan(machines, tmp_path_factory.mktemp("lan"), NODES, spec=spec) as lan:
        lan.each(lambda machine: set_up_node(machine, lan.topology))
        assert push(lan).result == "ok"
        lan.each(Machine.keep)
        lan.boot()
        yield lan


@pytest.fixture
def deployed(read_only_lan: Lan) -> Iterator[Lan]:
    """The same for tests that change NODE: each finds it new."""
    yield read_only_lan
    read_only_lan.reset([NODE])


def changed(folder: Path, name: str = NODE) -> Release:
    """Another release of a node, of a topology beside the LAN's."""
    text = TOPOLOGY.read_text().replace("  rate: 10 ", "  rate: 11 ")
    (folder / "changed.yaml").write_text(text)
    return render_release(load(folder / "changed.yaml"), name)


def served(lan: Lan, name: str = NODE) -> str:
    """What a node says from outside that it serves; empty for none."""
    ran = lan.operator.http(lan.address(name), "/.kome/release")
    head, _, body = ran.out.partition("\n\n")
    return body.strip() if " 200 " in head.split("\n")[0] else ""


def ask(lan: Lan, header: str, upload: str = "") -> dict[str, str]:
    """Ask the node script as the console does, through OpenSSH; its answer's lines."""
    ran = lan.operator.ssh(lan.address(NODE), SCRIPT, typed=f"kome/1 {header}\n{upload}")
    lines = (line.partition(" ") for line in ran.out.splitlines())
    return {key: value for key, _, value in lines}


def begin_trial(lan: Lan, release: Release, seconds: int) -> None:
    """Put a release on a node and leave it unconfirmed; nobody is connected afterwards."""
    conf = release.conf
    sha256 = hashlib.sha256(conf.encode()).hexdigest()
    told = ask(lan, f"stage id={release.id} size={len(conf.encode())} sha256={sha256}", conf)
    assert told["end"] == "ok"
    told = ask(lan, f"apply id={release.id} token=test-1 trial={seconds} by=test")
    assert told["end"] == "ok"
    assert told["trial"] == release.id
    assert served(lan) == release.id


def recovered_at(node: Machine) -> int:
    """When the boot's recover had ended, in microseconds since the boot."""
    asked = "systemctl show -p ExecMainExitTimestampMonotonic --value kome-recover"
    return int(node.run(asked).out)


def nginx_started_at(node: Machine) -> int:
    """When nginx's first process began, in microseconds since the boot."""
    asked = "systemctl show -p ExecMainStartTimestampMonotonic --value nginx"
    return int(node.run(asked).out)


def test_a_first_push_to_debians_nginx_is_committed_and_a_second_is_unchanged(
    fresh: Lan,
) -> None:
    lan = fresh
    assert served(lan) == ""
    wanted = {name: render_release(lan.topology, name).id for name in NODES}
    first = push(lan)
    assert first.outcomes() == dict.fromkeys(NODES, "committed")
    assert {name: served(lan, name) for name in NODES} == wanted
    assert {name: node.release for name, node in first.nodes.items()} == wanted
    assert push(lan).outcomes() == dict.fromkeys(NODES, "unchanged")


def test_status_reads_a_real_node(deployed: Lan) -> None:
    deployed.operator.http(deployed.address(NODE), "/version/")
    ran = deployed.operator.kome_tui("status", "--json")
    node = StatusAnswer.model_validate_json(ran.out).nodes[NODE]
    assert (node.ssh, node.nginx, node.release.drift) == ("ok", "serving", False)
    assert node.release.live == node.release.wanted
    assert node.disk_free_bytes
    assert node.connections
    assert (node.cache.hits, node.cache.misses) == (0, 1)
    assert node.cache.files == 1


def test_the_page_of_okome_comes_through_the_frontend(read_only_lan: Lan) -> None:
    ran = read_only_lan.operator.http(read_only_lan.address("kome"), "/")
    assert "<title>OKOME</title>" in ran.out


def test_a_trial_outlives_its_ssh_session_and_ends_at_its_deadline(
    deployed: Lan, tmp_path: Path
) -> None:
    old = served(deployed)
    begin_trial(deployed, changed(tmp_path), seconds=4)
    wait_until(lambda: served(deployed) == old, 30)
    wait_until(lambda: ask(deployed, "status")["trial"] == "-")
    assert "rolled-back" in ask(deployed, "status")["last"].split()


def test_a_power_cut_in_a_trial_goes_back_before_nginx_starts(
    deployed: Lan, tmp_path: Path
) -> None:
    old = served(deployed)
    new = changed(tmp_path)
    begin_trial(deployed, new, seconds=600)
    node = deployed[NODE]
    node.reboot()
    assert served(deployed) == old
    assert ask(deployed, "status")["trial"] == "-"
    assert recovered_at(node) <= nginx_started_at(node)


def test_a_confirmed_release_serves_after_a_power_cut(deployed: Lan) -> None:
    new = served(deployed)
    deployed[NODE].reboot()
    assert served(deployed) == new
    assert push(deployed).outcomes() == dict.fromkeys(NODES, "unchanged")


def test_nginx_killed_in_a_trial_is_started_by_systemd_on_the_old_release(
    deployed: Lan, tmp_path: Path
) -> None:
    old = served(deployed)
    begin_trial(deployed, changed(tmp_path), seconds=600)
    deployed[NODE].run("kill -9 $(cat /run/nginx.pid)")
    wait_until(lambda: served(deployed) == old, 30)
    wait_until(lambda: ask(deployed, "status")["trial"] == "-", 30)
    unit = deployed[NODE].run("systemctl is-active nginx; systemctl show -p MainPID --value nginx")
    state, pid = unit.out.split()
    assert state == "active"
    assert deployed[NODE].read_file("/run/nginx.pid").strip() == pid


def test_a_stopped_nginx_is_started_by_a_push_in_its_own_unit(deployed: Lan) -> None:
    deployed[NODE].run("systemctl stop nginx")
    answer = push(deployed)
    assert answer.outcomes() == {"kome": "unchanged", NODE: "committed"}
    group = deployed[NODE].run("cat /proc/$(cat /run/nginx.pid)/cgroup").out
    assert group.rstrip().endswith("/nginx.service")


def test_going_back_to_original_serves_debians_page_again(fresh: Lan) -> None:
    lan = fresh

    def page() -> str:
        return lan.operator.http(lan.address(NODE), "/").out.partition("\n\n")[2]

    before = page()
    assert "Welcome to nginx" in before
    push(lan)
    assert page() != before
    ran = lan.operator.kome_tui("rollback", NODE, "--to", "original", "--yes", "--json")
    assert PushAnswer.model_validate_json(ran.out).outcomes() == {NODE: "committed"}
    assert page() == before


def test_root_is_that_one_script_and_nothing_else(read_only_lan: Lan) -> None:
    def refused(command: str) -> bool:
        ran = read_only_lan.operator.ssh(read_only_lan.address(NODE), f"sudo -n {command}")
        return ran.code != 0 and "password is required" in ran.err

    others = ("id", "/usr/sbin/nginx -t", f"{SCRIPT.split()[-1]} status", "/bin/sh", "-u debian id")
    assert [command for command in others if not refused(command)] == []
    rules = read_only_lan.operator.ssh(read_only_lan.address(NODE), "sudo -n -l").out
    assert rules.count("NOPASSWD") == 1


def test_calls_of_the_console_leave_no_line_of_sudo_in_the_log(read_only_lan: Lan) -> None:
    node = read_only_lan[NODE]

    def lines() -> list[str]:
        return node.run("journalctl --sync; journalctl --no-pager -q -t sudo").out.splitlines()

    before = lines()
    assert ask(read_only_lan, "status")["end"] == "ok"
    assert lines() == before
    read_only_lan.operator.ssh(node.address, "sudo -n true", user="debian")
    assert "COMMAND=/usr/bin/true" in "".join(lines()[len(before) :])


def test_a_node_that_died_is_reported_and_the_other_is_served(deployed: Lan) -> None:
    deployed[NODE].kill()
    answer = push(deployed)
    assert answer.outcomes() == {"kome": "unchanged", NODE: "unreachable"}
    assert answer.result == "failed"
