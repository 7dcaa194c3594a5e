"""The node script and its first verb, on a real nginx: what is accepted and what is refused."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from kome_tui.errors import UsageError
from kome_tui.fleet.script import node_script
from kome_tui.topology.model import Layout
from tests.node_machine import Answer, Built, Machine, Shell, parsed
from tests.ports import free_port
from tests.waiting import wait_until

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


def test_locks_pipes_and_tokens_are_nobody_elses(machine: Machine) -> None:
    run = machine.root / "run"
    machine.push(machine.release("one"), "t1")
    assert run.stat().st_mode & 0o777 == 0o700
    run.chmod(0o755)  # as an earlier script has left it
    machine.run("status")
    assert run.stat().st_mode & 0o777 == 0o700


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
