"""What somebody changed by hand on a node, and what the node script keeps of it."""

import hashlib
import os
import signal

import pytest

from tests.node_machine import Machine
from tests.ports import free_port
from tests.waiting import wait_until


def test_file_changed_in_place_is_drift_and_is_kept(machine: Machine) -> None:
    one = machine.release("one")
    machine.push(one, "t1")
    edited = machine.conf("edited by hand", marker=None).encode()
    (machine.root / "etc/nginx.conf").write_bytes(edited)  # through the link
    assert machine.run("status")["drift"] == "yes"
    keys = machine.stage(one).keys
    del keys["digest"]
    assert keys == {
        "live": one.id,
        "drift": "yes",
        "unchanged": "no",
        "trial": "-",
    }
    machine.push(one, "t2")
    machine.agrees(one.id, "one")
    kept = machine.run("status")["previous"]
    assert kept == hashlib.sha256(edited).hexdigest()[:12]
    assert (machine.state / "releases" / kept / "nginx.conf").read_bytes() == edited


def test_file_put_in_place_of_the_link_is_what_a_failed_push_goes_back_to(
    machine: Machine,
) -> None:
    machine.push(machine.release("one"), "t1")
    conf = machine.root / "etc/nginx.conf"
    conf.unlink()
    conf.write_bytes(machine.original("by hand"))
    os.kill(machine.master() or 0, 1)
    wait_until(lambda: machine.page() == "by hand")
    assert machine.run("status")["drift"] == "yes"
    two = machine.release("two")
    machine.stage(two)
    machine.apply(two, "t2")
    assert machine.page() == "two"
    assert machine.run("cancel", token="t2")["decision"] == "rolled-back"
    assert machine.page() == "by hand"
    assert machine.run("status")["drift"] == "no"


def by_hand(machine: Machine, text: str) -> None:
    """Somebody puts a file in place of the link, and does not reload."""
    conf = machine.root / "etc/nginx.conf"
    conf.unlink()
    conf.write_text(text)
    assert machine.run("status")["drift"] == "yes"


@pytest.mark.parametrize("stopped", [False, True])
def test_file_that_nginx_refuses_is_kept_and_is_no_way_back(
    machine: Machine, stopped: bool
) -> None:
    """Going back to it would leave the release that failed running, and nothing after a boot."""
    one = machine.release("one")
    machine.push(one, "t1")
    broken = machine.conf("broken", marker=None, extra="no_such_directive;")
    by_hand(machine, broken)
    if stopped:
        os.kill(machine.master() or 0, signal.SIGTERM)
        wait_until(lambda: machine.processes("nginx: ") == [])
    two = machine.release("two")
    machine.stage(two)
    assert machine.apply(two, "t2").end == "ok"
    assert machine.run("cancel", token="t2")["decision"] == "rolled-back"
    machine.agrees(one.id, "one")
    assert "degraded" not in machine.run("status")["last"]
    kept = machine.state / "releases" / hashlib.sha256(broken.encode()).hexdigest()[:12]
    assert (kept / "nginx.conf").read_text() == broken


def test_port_that_nginx_holds_is_its_own_whatever_file_took_the_place_of_the_link(
    machine: Machine,
) -> None:
    machine.push(machine.release("one"), "t1")
    by_hand(machine, machine.conf("elsewhere").replace(f":{machine.port};", f":{free_port()};"))
    two = machine.release("two")
    machine.push(two, "t2")
    machine.agrees(two.id, "two")


def test_kept_file_that_was_changed_later_is_kept_anew(machine: Machine) -> None:
    """What is kept under the digest of its bytes has these bytes, or is no way back."""
    machine.push(machine.release("one"), "t1")
    text = machine.conf("by hand", marker=None)
    by_hand(machine, text)
    machine.push(machine.release("two"), "t2")
    kept = machine.state / "releases" / (machine.run("status")["previous"])
    (kept / "nginx.conf").write_text(machine.conf("other", marker=None))
    by_hand(machine, text)
    three = machine.release("three")
    machine.stage(three)
    assert machine.apply(three, "t3").end == "ok"
    assert machine.run("cancel", token="t3")["decision"] == "rolled-back"
    assert machine.live() == kept.name
    assert machine.page() == "by hand"


@pytest.mark.parametrize("left", ["nothing", "a link to nowhere", "a folder"])
def test_live_release_is_the_way_back_where_there_is_no_file_any_more(
    machine: Machine, left: str
) -> None:
    one = machine.release("one")
    machine.push(one, "t1")
    conf = machine.root / "etc/nginx.conf"
    conf.unlink()
    if left == "a link to nowhere":
        conf.symlink_to("nowhere")
    elif left == "a folder":
        conf.mkdir()
    two = machine.release("two")
    machine.stage(two)
    answer = machine.apply(two, "t2")
    if left == "a folder":  # nobody's way to remove a file
        assert answer.end.startswith("failed cannot make")
        return
    assert answer.end == "ok"
    assert machine.run("cancel", token="t2")["decision"] == "rolled-back"
    machine.agrees(one.id, "one")


def test_file_that_cannot_be_read_costs_no_release_that_is_kept(machine: Machine) -> None:
    one = machine.release("one")
    machine.push(one, "t1")
    (machine.state / "releases" / one.id / "nginx.conf").write_bytes(one.conf + b"# by hand\n")
    conf = machine.root / "etc/nginx.conf"
    conf.unlink()
    conf.mkdir()
    two = machine.release("two")
    assert machine.stage(two).end == "ok"
    assert machine.apply(two, "t2").end.startswith("refused there is no readable")
    kept = {entry.name for entry in (machine.state / "releases").iterdir()}
    assert kept == {one.id, two.id, "original"}
