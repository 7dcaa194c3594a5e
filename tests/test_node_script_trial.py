"""The node script's trials, on a real nginx: switched, proved, confirmed or taken back."""

import hashlib
import os
import signal
import subprocess
import urllib.request

from tests.node_machine import Built, Machine
from tests.ports import free_port
from tests.waiting import wait_until


def test_first_apply_keeps_the_whole_folder_as_original(machine: Machine) -> None:
    before = (machine.root / "etc/nginx.conf").read_bytes()
    machine.push(machine.release("one"), "t1")
    original = machine.state / "releases/original"
    assert (original / "nginx.conf").read_bytes() == before
    assert (original / "conf.d/extra.conf").read_text() == "# kept as well\n"
    link = machine.root / "etc/nginx.conf"
    assert link.readlink() == machine.state / "current/nginx.conf"
    assert machine.run("status")["previous"] == "original"


def test_unconfirmed_trial_goes_back_by_itself(machine: Machine) -> None:
    one = machine.release("one")
    machine.stage(one)
    assert machine.apply(one, "t1", trial=1).end == "ok"
    assert machine.page() == "one"
    machine.agrees("original", "before kome")
    late = machine.run("confirm", token="t1")
    assert (late["decision"], late["reason"]) == ("rolled-back", "not confirmed in time")
    assert late["live"] == "original"


def test_going_on_when_the_connection_dies_in_apply(machine: Machine) -> None:
    one = machine.release("one")
    machine.stage(one)
    started = machine.start("apply", id=one.id, token="t1", trial=30, by="ops")
    wait_until(lambda: machine.live() == one.id, every_s=0.001)
    started.kill()
    started.communicate()
    wait_until(lambda: "t1 proved" in (machine.root / "run/phase").read_text())
    assert machine.run("confirm", token="t1")["decision"] == "confirmed"
    machine.agrees(one.id, "one")


def test_held_port_rolls_back_with_the_bind_reason(machine: Machine) -> None:
    machine.push(machine.release("one"), "t1")
    one = machine.live()
    holder = subprocess.Popen(
        [
            "/usr/bin/env",
            "python3",
            "-c",
            "import socket,sys; s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen();"
            "print(s.getsockname()[1], flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        two = machine.release("two", extra=f"    }}\n    server {{ listen 127.0.0.1:{port};")
        assert machine.stage(two).end == "ok"
        answer = machine.apply(two, "t2")
        reason = f"bind() to 127.0.0.1:{port} failed (98: Address already in use)"
        assert answer.end == f"rolled-back {reason}"
        assert (answer["live"], answer["trial"], answer["reason"]) == (one, "-", reason)
    finally:
        holder.communicate(timeout=10)
    machine.agrees(one or "", "one")


def test_wrong_marker_rolls_back(machine: Machine) -> None:
    machine.push(machine.release("one"), "t1")
    one = machine.live() or ""
    liar = machine.release("two", marker="not-@ID@")
    assert machine.stage(liar).end == "ok"
    answer = machine.apply(liar, "t2")
    assert answer.end.startswith("rolled-back")
    assert f"answers not-{liar.id}, expected {liar.id}" in answer["reason"]
    machine.agrees(one, "one")


def test_reload_that_does_not_take_rolls_back_with_the_reason(machine: Machine) -> None:
    one = machine.conf("one").replace("http {", "http { limit_req_zone $uri zone=z:1m rate=1r/s;")
    two = machine.conf("two").replace("http {", "http { limit_req_zone $args zone=z:1m rate=1r/s;")
    for token, template in (("t1", one), ("t2", two)):
        built_id = hashlib.sha256(template.encode()).hexdigest()[:12]
        conf = template.replace("@ID@", built_id).encode()
        sha = hashlib.sha256(conf).hexdigest()
        assert machine.run("stage", conf, id=built_id, size=len(conf), sha256=sha).end == "ok"
        answer = machine.run("apply", id=built_id, token=token, trial=30, by="ops")
        if token == "t1":
            assert machine.run("confirm", token=token)["decision"] == "confirmed"
            first_id = built_id
    assert answer.end.startswith('rolled-back limit_req "z" uses the "$args" key')
    machine.agrees(first_id, "one")


def test_confirm_needs_the_token(machine: Machine) -> None:
    one = machine.release("one")
    machine.stage(one)
    machine.apply(one, "t1")
    answer = machine.run("confirm", token="other")
    assert answer.end.startswith("refused the trial belongs to ops.laptop since ")
    assert machine.run("status")["trial"] == one.id
    assert machine.run("confirm", token="t1")["decision"] == "confirmed"


def test_confirm_without_a_trial_is_refused(machine: Machine) -> None:
    assert machine.run("confirm", token="t1").end == "refused there is no trial with this token"
    assert machine.run("cancel", token="t1").end == "refused there is no trial with this token"


def test_confirm_again_gives_the_same_answer(machine: Machine) -> None:
    machine.push(machine.release("one"), "t1")
    assert machine.run("confirm", token="t1")["decision"] == "confirmed"
    assert machine.run("cancel", token="t1")["decision"] == "confirmed"


def test_confirm_of_a_release_that_no_longer_serves_is_refused_and_taken_back(
    machine: Machine,
) -> None:
    one = machine.release("one")
    machine.stage(one)
    machine.apply(one, "t1")
    live = machine.state / "releases" / one.id / "nginx.conf"
    good = live.read_bytes()
    live.write_bytes(good.replace(f'"{one.id}'.encode(), b'"something else'))
    os.kill(machine.master() or 0, signal.SIGHUP)
    # An old worker may still take a connection for a while after the reload.
    wait_until(lambda: {machine.marker() for _ in range(30)} == {"something else"})
    answer = machine.run("confirm", token="t1")
    assert answer.end.startswith("refused not serving: ")
    assert "answers something else" in answer.end
    machine.agrees("original", "before kome")
    assert machine.run("confirm", token="t1")["decision"] == "rolled-back"


def test_second_apply_during_a_trial_is_busy(machine: Machine) -> None:
    one, two = machine.release("one"), machine.release("two")
    machine.stage(one)
    machine.stage(two)
    machine.apply(one, "t1")
    answer = machine.apply(two, "t2")
    assert answer.end.startswith("busy ops.laptop since 20")
    assert machine.run("recover").end.startswith("busy")
    assert machine.stage(two)["trial"] == one.id
    assert machine.page() == "one"
    assert machine.run("confirm", token="t1")["decision"] == "confirmed"
    machine.agrees(one.id, "one")


def test_pushes_follow_each_other_without_a_pause(machine: Machine) -> None:
    one, two = machine.release("one"), machine.release("two")
    for number in range(4):
        built = (one, two)[number % 2]
        machine.push(built, f"t{number}")
    machine.agrees(two.id, "two")


def test_apply_starts_an_nginx_that_does_not_run(machine: Machine) -> None:
    os.kill(machine.master() or 0, 15)
    wait_until(lambda: not machine.processes("nginx: "))
    machine.push(machine.release("one"), "t1")
    machine.agrees(machine.live() or "", "one")


def test_apply_of_an_unknown_release_is_refused(machine: Machine) -> None:
    answer = machine.run("apply", id="0123456789ab", token="t1", trial=3, by="ops")
    assert answer.end == "refused release 0123456789ab is not on this node"


# ---------------------------------------------------------------- rollback


def test_rollback_to_original_is_a_trial_too(machine: Machine) -> None:
    machine.push(machine.release("one"), "t1")
    one = machine.live() or ""
    answer = machine.run("rollback", to="original", token="t2", trial=1, by="ops")
    assert (answer.end, answer["trial"]) == ("ok", "original")
    assert machine.page() == "before kome"
    machine.agrees(one, "one")
    machine.run("rollback", to="original", token="t3", trial=30, by="ops")
    assert machine.run("confirm", token="t3")["decision"] == "confirmed"
    machine.agrees("original", "before kome")


def test_rollback_without_a_previous_release_is_refused(machine: Machine) -> None:
    answer = machine.run("rollback", to="-", token="t1", trial=3, by="ops")
    assert answer.end == "refused there is no previous release"


def test_old_releases_are_pruned(machine: Machine) -> None:
    built = [machine.release(f"page {number}") for number in range(8)]
    for number, release in enumerate(built):
        machine.push(release, f"t{number}")
    kept = machine.run("status")["kept"].split()
    assert kept[:5] == [release.id for release in reversed(built[3:])]
    assert set(kept[5:]) == {"original"}


def test_answer_under_way_is_finished_by_the_old_worker(machine: Machine) -> None:
    """Old workers are told to quit as soon as there are new ones; they finish what they have."""
    (machine.root / "big").write_bytes(b"x" * 300_000)
    slow = f"        location /big {{ root {machine.root}; limit_rate 100k; }}"
    machine.push(machine.release("one", extra=slow), "t1")
    two = machine.release("two")
    with urllib.request.urlopen(f"http://127.0.0.1:{machine.port}/big", timeout=30) as reply:
        first = reply.read(1000)
        machine.push(two, "t2")
        assert len(first) + len(reply.read()) == 300_000
    machine.agrees(two.id, "two")


def test_release_is_asked_at_its_own_port(machine: Machine) -> None:
    """The topology gives a node another port; the script lies there since before."""
    machine.push(machine.release("one"), "t1")
    other = free_port()
    text = machine.conf("two").replace(f":{machine.port};", f":{other};")
    moved_id = hashlib.sha256(text.encode()).hexdigest()[:12]
    moved = Built(moved_id, text.replace("@ID@", moved_id).encode())
    assert machine.stage(moved, port=other).end == "ok"
    assert machine.apply(moved, "t2").end == "ok"
    assert machine.run("cancel", token="t2")["decision"] == "rolled-back"
    assert machine.page() == "one"
    machine.apply(moved, "t3")
    assert machine.run("confirm", token="t3")["decision"] == "confirmed"
    assert machine.stage(moved, port=other)["unchanged"] == "yes"
    assert machine.run("status")["running"] == moved_id
