"""The node script's push, on a real nginx: what is accepted, refused, kept and taken back."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.errors import UsageError
from kome_tui.fleet.script import node_script
from kome_tui.topology.model import Layout
from tests.node_machine import Answer, Built, Machine, Shell, parsed
from tests.ports import free_port
from tests.waiting import wait_until


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        made.start_nginx()
        yield made
    finally:
        made.close()


# ---------------------------------------------------------------- the file


def test_layout_fills_the_header() -> None:
    script = node_script(Layout(state="/srv/kome", listen="192.168.86.20"), port=8080)
    header = script.partition("# --- end of the layout ---")[0].splitlines()
    assert "STATE=/srv/kome" in header
    assert "ADDRESS=192.168.86.20" in header
    assert "PORT=8080" in header
    assert "KOME_TEST=0" in header


def test_state_inside_the_archived_folder_is_refused() -> None:
    with pytest.raises(UsageError, match=r"inside layout\.etc"):
        node_script(Layout(etc="/srv/nginx", state="/srv/nginx/kome"))


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    script = tmp_path / "kome-node"
    script.write_text(node_script(Layout()))
    done = subprocess.run(["shellcheck", "-s", "sh", script], capture_output=True, text=True)
    assert done.stdout == ""


# ---------------------------------------------------------------- the whole story, in each shell


@pytest.mark.parametrize("shell", ["dash", "busybox", "bash"])
def test_push_confirm_cancel_and_roll_back(tmp_path: Path, shell: Shell) -> None:
    machine = Machine(tmp_path, shell)
    try:
        machine.start_nginx()
        one, two = machine.release("one"), machine.release("two")
        machine.push(one, "t1")
        machine.agrees(one.id, "one")
        machine.push(two, "t2")
        machine.agrees(two.id, "two")
        assert machine.run("status")["previous"] == one.id

        assert machine.apply(one, "t3").end == "ok"
        assert machine.page() == "one"
        assert machine.run("cancel", token="t3")["decision"] == "rolled-back"
        machine.agrees(two.id, "two")

        assert machine.run("rollback", to="-", token="t4", trial=30, by="ops").end == "ok"
        assert machine.run("confirm", token="t4")["decision"] == "confirmed"
        machine.agrees(one.id, "one")

        answer = machine.apply(two, "t5", trial=0.3)
        assert answer["trial"] == two.id
        machine.agrees(one.id, "one")
        assert machine.run("status")["last"].endswith("not confirmed in time")
        assert (machine.root / "run/log").read_text() == ""
    finally:
        machine.close()


def test_works_without_bash(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    try:
        machine.start_nginx()
        tools = tmp_path / "tools"
        tools.mkdir()
        for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            for tool in Path(folder).iterdir():
                if tool.name != "bash" and not (tools / tool.name).exists():
                    (tools / tool.name).symlink_to(tool)
        text = machine.script.read_text()
        machine.script.write_text(text.replace("PATH=$PATH:/usr/sbin", f"PATH={tools} #"))
        machine.push(machine.release("one"), "t1")
        assert machine.page() == "one"
    finally:
        machine.close()


def test_works_without_proc_and_timeout(tmp_path: Path) -> None:
    """As on macOS, where the practice fleet brings `uptime-s`."""
    machine = Machine(tmp_path)
    try:
        machine.start_nginx()
        tools = tmp_path / "tools"
        tools.mkdir()
        (tools / "uptime-s").write_text("#!/bin/sh\ncut -d ' ' -f 1 /proc/uptime\n")
        (tools / "uptime-s").chmod(0o755)
        machine.env["PATH"] = f"{tools}:{machine.env['PATH']}"
        text = machine.script.read_text().replace("command -v timeout", "command -v no-such-tool")
        machine.script.write_text(text.replace("/proc/", "/no-such-folder/"))
        one, two = machine.release("one"), machine.release("two")
        machine.push(one, "t1")
        machine.stage(two)
        assert machine.apply(two, "t2", trial=0.5).end == "ok"
        machine.agrees(one.id, "one")
    finally:
        machine.close()


# ---------------------------------------------------------------- stage


def test_stage_changes_nothing_that_serves(machine: Machine) -> None:
    one = machine.release("one")
    before = (machine.root / "etc/nginx.conf").read_bytes()
    answer = machine.stage(one)
    assert answer.end == "ok"
    assert re.fullmatch(r"[0-9a-f]{12}", answer.keys.pop("digest"))
    assert answer.keys == {"live": "-", "drift": "no", "unchanged": "no", "trial": "-"}
    assert (machine.state / "releases" / one.id / "nginx.conf").read_bytes() == one.conf
    assert (machine.root / "etc/nginx.conf").read_bytes() == before
    assert machine.live() is None
    assert machine.page() == "before kome"


def test_stage_says_unchanged_only_when_the_marker_answers(machine: Machine) -> None:
    one = machine.release("one")
    machine.push(one, "t1")
    assert machine.stage(one)["unchanged"] == "yes"
    os.kill(machine.master() or 0, 15)
    wait_until(lambda: machine.page() is None)
    assert machine.stage(one)["unchanged"] == "no"


def test_stage_refuses_a_syntax_error_and_keeps_nothing(machine: Machine) -> None:
    broken = machine.release("one", extra="        no_such_directive on;")
    answer = machine.stage(broken)
    assert answer.code == 1
    assert answer.end.startswith(
        'refused [emerg] unknown directive "no_such_directive" in nginx.conf:'
    )
    assert list((machine.state / "releases").iterdir()) == []


def test_stage_refuses_a_warning(machine: Machine) -> None:
    listen = f"listen 127.0.0.1:{machine.port};"
    stray = machine.release("one", extra=f"    }}\n    server {{ {listen}")
    answer = machine.stage(stray)
    assert answer.end.startswith("refused [warn] conflicting server name")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"size": 50}, "the upload was damaged"),
        ({"sha256": "0" * 64}, "the upload was damaged"),
        ({"id": "0123456789ab"}, "these bytes are not release 0123456789ab"),
        ({"id": "original"}, "the name original is taken"),
        ({"size": 2_000_000}, "too large"),
    ],
)
def test_stage_refuses(machine: Machine, changed: dict[str, object], reason: str) -> None:
    answer = machine.stage(machine.release("one"), **changed)
    assert answer.end.startswith("refused")
    assert reason in answer.end
    releases = machine.state / "releases"
    assert not releases.exists() or list(releases.iterdir()) == []


def test_stage_leaves_nothing_when_the_upload_is_abandoned(machine: Machine) -> None:
    one = machine.release("one")
    digest = hashlib.sha256(one.conf).hexdigest()
    started = machine.start("stage", id=one.id, size=len(one.conf), sha256=digest)
    wait_until(lambda: list((machine.state / "releases").glob(".in.*")))
    out, _ = started.communicate(one.conf[:50], timeout=10)
    assert b"end refused the upload was cut short: 50 of" in out
    assert list((machine.state / "releases").iterdir()) == []


class Steps:
    """The steps of one push, asked of one process as the console asks them."""

    def __init__(self, machine: Machine, built: Built) -> None:
        sha = hashlib.sha256(built.conf).hexdigest()
        size = len(built.conf)
        self.process = machine.start("stage", id=built.id, size=size, sha256=sha, more="yes")
        assert self.process.stdin is not None
        self.process.stdin.write(built.conf)
        self.staged = self._answer()

    def ask(self, step: str) -> Answer:
        assert self.process.stdin is not None
        self.process.stdin.write(f"kome/1 {step}\n".encode())
        return self._answer()

    def _answer(self) -> Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.flush()
        lines = [self.process.stdout.readline()]
        while lines[-1] and not lines[-1].startswith(b"end"):
            lines.append(self.process.stdout.readline())
        return parsed(0, b"".join(lines))


def test_steps_of_a_push_on_one_standard_input(machine: Machine) -> None:
    one = machine.release("one")
    steps = Steps(machine, one)
    applied = steps.ask(f"apply id={one.id} token=t1 trial=30 by=ops more=yes")
    confirmed = steps.ask("confirm token=t1 more=yes")
    out, err = steps.process.communicate(timeout=10)
    assert (out, err, steps.process.returncode) == (b"", b"", 0)
    assert [answer.end for answer in (steps.staged, applied, confirmed)] == ["ok", "ok", "ok"]
    assert confirmed["decision"] == "confirmed"
    machine.agrees(one.id, "one")


def test_script_that_was_started_ahead_waits_with_nothing_held(machine: Machine) -> None:
    started = machine.start("ready", more="yes")
    assert started.stdin is not None
    assert started.stdout is not None
    assert [started.stdout.readline() for _ in range(2)] == [b"kome-node 1 ready\n", b"end ok\n"]
    one = machine.release("one")
    machine.push(one, "t1")
    words = f"id={one.id} size={len(one.conf)} sha256={hashlib.sha256(one.conf).hexdigest()}"
    out, _ = started.communicate(f"kome/1 stage {words}\n".encode() + one.conf, timeout=10)
    assert parsed(0, out)["unchanged"] == "yes"


def test_script_that_was_started_ahead_leaves_with_its_console(machine: Machine) -> None:
    started = machine.start("ready", more="yes")
    out, err = started.communicate(timeout=10)
    assert (out, err, started.returncode) == (b"kome-node 1 ready\nend ok\n", b"", 0)


def test_what_was_changed_by_hand_between_stage_and_apply_is_not_overwritten(
    machine: Machine,
) -> None:
    one, two = machine.release("one"), machine.release("two")
    machine.push(one, "t1")
    steps = Steps(machine, two)
    assert steps.staged["drift"] == "no"
    file = machine.root / "etc/nginx.conf"
    by_hand = file.read_bytes() + b"# by hand\n"
    file.unlink()
    file.write_bytes(by_hand)
    answer = steps.ask(f"apply id={two.id} token=t2 trial=30 by=ops more=yes")
    steps.process.communicate(timeout=10)
    assert answer.end.startswith("refused changed by hand while this push waited")
    assert (file.read_bytes(), machine.page()) == (by_hand, "one")
    assert machine.run("status")["trial"] == "-"


def test_what_another_push_has_confirmed_between_stage_and_apply_is_not_replaced(
    machine: Machine,
) -> None:
    one, two, three = (machine.release(text) for text in ("one", "two", "three"))
    machine.push(one, "t1")
    steps = Steps(machine, two)
    machine.push(three, "t3")
    answer = steps.ask(f"apply id={two.id} token=t2 trial=30 by=ops more=yes")
    steps.process.communicate(timeout=10)
    assert answer.end.startswith(f"refused another push came between: release {three.id} serves")
    machine.agrees(three.id, "three")


def test_unchanged_reads_no_upload_and_takes_no_further_request(machine: Machine) -> None:
    one = machine.release("one")
    machine.push(one, "t1")
    answer = machine.stage(one, more="yes")
    assert (answer.code, answer["unchanged"], answer.end) == (0, "yes", "ok")


@pytest.mark.parametrize("edited", ["file", "note", "link"])
def test_unchanged_is_never_said_of_a_release_that_was_changed(
    machine: Machine, edited: str
) -> None:
    one = machine.release("one")
    machine.push(one, "t1")
    release = machine.state / "releases" / one.id
    match edited:
        case "file":
            (release / "nginx.conf").write_bytes(one.conf + b"# by hand\n")
        case "note":
            note = (release / ".kome").read_text()
            (release / ".kome").write_text(note.replace("digest=", "digest=0"))
        case "link":
            link = machine.root / "etc/nginx.conf"
            link.unlink()
            link.symlink_to(release / "nginx.conf")
    answer = machine.stage(one)
    assert (answer["drift"], answer["unchanged"]) == ("yes", "no")
    machine.push(one, "t2")
    assert machine.stage(one)["unchanged"] == "yes"


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


def test_port_that_nginx_holds_by_an_included_file_is_its_own(machine: Machine) -> None:
    """As on Debian, whose nginx.conf includes the site that listens."""
    other = free_port()
    site = f"server {{\n listen 127.0.0.1:{other};\n return 200 site;\n}}\n"
    (machine.root / "etc/conf.d/extra.conf").write_text(site)
    conf = machine.root / "etc/nginx.conf"
    include = f"include {machine.root}/etc/conf.d/*.conf;"
    conf.write_text(conf.read_text().replace("http {", f"http {{ {include}"))
    os.kill(machine.master() or 0, signal.SIGHUP)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", other), 1).close()
            return True
        return False

    wait_until(answers)
    extra = f"    }}\n    server {{\n listen 127.0.0.1:{other};"
    assert machine.stage(machine.release("one", extra=extra)).end == "ok"


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


@pytest.mark.parametrize(
    "header",
    [
        "kome/2 status",
        "kome/1 status;id",
        "kome/1 $(id)",
        "kome/1 apply id=../../etc token=t trial=3 by=me",
        "kome/1 apply id=0123456789ab token=-t trial=3 by=me",
        "kome/1 apply id=0123456789ab token=t trial=3x by=me",
        "kome/1 apply id=0123456789ab token=t trial=03 by=me",
        "kome/1 apply id=0123456789ab token=t trial=3",
        "kome/1 rollback to=* token=t trial=3 by=me",
        "kome/1 follow inode=1 offset=08",
        "kome/1 status colour=red",
        "kome/1 status more=no",
        "kome/1 stage id=0123456789ab size=1 sha256=" + "0" * 64 + " port=70000",
        "kome/1 reboot",
        "kome/1",
        "",
        "kome/1 status " + "a" * 3000,
    ],
)
def test_header_outside_the_allow_list_is_a_usage_error(machine: Machine, header: str) -> None:
    done = subprocess.run(
        [machine.shell, machine.script],
        input=header.encode() + b"\n",
        capture_output=True,
        env=machine.env,
        timeout=10,
    )
    answer = parsed(done.returncode, done.stdout, done.stderr)
    assert answer.code == 1
    assert answer.end.startswith("usage ")
    assert not machine.state.exists()


def test_arguments_are_refused(machine: Machine) -> None:
    done = subprocess.run(
        [machine.shell, machine.script, "status"], capture_output=True, env=machine.env, timeout=10
    )
    assert done.stdout.startswith(b"end usage")


# ---------------------------------------------------------------- apply, confirm, cancel


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


# ---------------------------------------------------------------- drift


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


def test_two_consoles_that_stage_the_same_release_at_once_both_may(machine: Machine) -> None:
    one = machine.release("one")
    machine.env["KOME_FP_SIGNAL"] = "STOP"
    digest = hashlib.sha256(one.conf).hexdigest()
    slow = machine.start(
        "stage", fault="verb.accepted", id=one.id, size=len(one.conf), sha256=digest
    )
    assert slow.stdin is not None
    slow.stdin.write(one.conf)
    slow.stdin.flush()
    stat = Path(f"/proc/{slow.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(") ")[2].startswith("T"))
    assert machine.stage(one).end == "ok"
    os.kill(slow.pid, signal.SIGCONT)
    out, err = slow.communicate(timeout=40)
    assert b"end ok" in out, (out, err)
    assert [entry.name for entry in (machine.state / "releases").iterdir()] == [one.id]


def test_release_with_another_pid_file_than_the_scripts_is_refused(machine: Machine) -> None:
    """The topology's layout was changed, and the script lies there since before."""
    one = machine.release("one")
    machine.push(one, "t1")
    text = machine.conf("two").replace("/nginx.pid;", "/other.pid;")
    moved_id = hashlib.sha256(text.encode()).hexdigest()[:12]
    moved = Built(moved_id, text.replace("@ID@", moved_id).encode())
    assert machine.stage(moved).end == (
        f"refused nginx's pid file would be {machine.root}/other.pid,"
        f" and kome-node here looks for {machine.root}/nginx.pid: rebuild the node"
    )
    machine.push(machine.release("three"), "t3")


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
