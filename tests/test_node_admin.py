"""The node script's verbs that are no push, on a real nginx, in each shell that nodes have."""

import hashlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.fleet.script import node_script
from kome_tui.topology.model import Endpoint
from tests.node_machine import Answer, Machine, Shell
from tests.ports import free_port
from tests.signals_servers import scripted, silent
from tests.waiting import wait_until


@pytest.fixture(params=["dash", "busybox"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    shell: Shell = request.param
    made = Machine(tmp_path, shell)
    try:
        yield made
    finally:
        made.close()


def upload(machine: Machine, verb: str, content: bytes, **keys: object) -> Answer:
    """One verb with a payload that is announced as it is."""
    named = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **keys}
    return machine.run(verb, content, **named)


# ---------------------------------------------------------------- reach


def may_reach(machine: Machine, *ports: int) -> None:
    allowed = " ".join(f"127.0.0.1|{port}" for port in ports)
    text = machine.script.read_text().replace("REACH=''\n", f"REACH={shlex.quote(allowed)}\n")
    machine.script.write_text(text)


def reach(machine: Machine, port: int, timeout: str = "5") -> Answer:
    return machine.run("reach", address="127.0.0.1", port=port, timeout=timeout)


def test_reach_tells_open_from_refused(machine: Machine) -> None:
    closed = free_port()
    with scripted(silent) as endpoint:
        may_reach(machine, endpoint.port, closed)
        answer = reach(machine, endpoint.port)
        assert (answer.end, answer["result"]) == ("ok", "ok")
        assert int(answer["ms"]) < 5000
    assert reach(machine, closed)["result"] == "refused"


def test_reach_without_bash(machine: Machine) -> None:
    closed = free_port()
    with scripted(silent) as endpoint:
        may_reach(machine, endpoint.port, closed)
        text = machine.script.read_text().replace("command -v bash", "command -v no-such-shell")
        machine.script.write_text(text)
        assert reach(machine, endpoint.port, "0.5")["result"] == "ok"
        assert reach(machine, closed)["result"] == "refused"


def test_reach_gives_up_in_time(machine: Machine) -> None:
    may_reach(machine, 9)
    stuck = machine.root / "tools"
    stuck.mkdir()
    (stuck / "bash").write_text("#!/bin/sh\nexec sleep 60\n")
    (stuck / "bash").chmod(0o755)
    machine.env["PATH"] = f"{stuck}:{machine.env['PATH']}"
    answer = reach(machine, 9, "0.3")
    assert answer["result"] == "timed-out"
    assert int(answer["ms"]) >= 300


def test_reach_is_no_port_scanner(machine: Machine) -> None:
    with scripted(silent) as endpoint:
        answer = reach(machine, endpoint.port)
        assert answer.end.startswith("refused 127.0.0.1 port")
        may_reach(machine, int(f"1{endpoint.port}"[:5]))
        assert reach(machine, endpoint.port).end.startswith("refused")


# ---------------------------------------------------------------- restart


def test_start_where_nginx_is_stopped(machine: Machine) -> None:
    answer = machine.run("restart", how="start")
    assert (answer.end, answer["nginx"]) == ("ok", "serving")
    assert machine.page() == "before kome"


def test_start_is_refused_where_nginx_runs(machine: Machine) -> None:
    machine.start_nginx()
    master = machine.master()
    answer = machine.run("restart", how="start")
    assert answer.end.startswith("refused nginx runs and answers")
    assert machine.master() == master


def test_restart_brings_a_hung_nginx_back(machine: Machine) -> None:
    machine.start_nginx()
    one = machine.release("one")
    machine.push(one, "t1")
    master = machine.master()
    assert master is not None
    for pid in machine.processes("nginx: "):
        os.kill(pid, signal.SIGSTOP)
    answer = machine.run("restart", how="restart")
    assert answer.end == "ok", answer
    assert machine.master() != master
    machine.agrees(one.id, "one")


def test_restart_never_stops_for_a_configuration_that_cannot_start(machine: Machine) -> None:
    machine.start_nginx()
    (machine.root / "etc/nginx.conf").write_text("no such directive;")
    answer = machine.run("restart", how="restart")
    assert answer.end.startswith("refused the configuration fails the test")
    assert machine.page() == "before kome"


def test_restart_during_a_trial_is_busy(machine: Machine) -> None:
    machine.start_nginx()
    one = machine.release("one")
    machine.stage(one)
    machine.apply(one, "t1")
    assert machine.run("restart", how="restart").end.startswith("busy ops.laptop since")
    machine.run("cancel", token="t1")


# ---------------------------------------------------------------- purge


def cached(machine: Machine, key: str, name: str = "") -> Path:
    """A file as nginx keeps it: a binary head with newlines, the key, the answer."""
    digest = hashlib.md5((name or key).encode()).hexdigest()
    file = Path(machine.layout.cache) / digest[-1] / digest[-3:-1] / digest
    file.parent.mkdir(parents=True, exist_ok=True)
    head = bytes(range(1, 90)) + b"\0" * 60 + b"\n" + bytes(range(90, 256))
    body = b"HTTP/1.1 200 OK\r\n\r\nKEY: /other\n"
    file.write_bytes(head + b"\nKEY: " + key.encode() + b"\n" + body)
    return file


def purge(machine: Machine, path: str) -> Answer:
    return upload(machine, "purge", path.encode())


def test_purge_of_everything_leaves_what_nginx_is_writing(machine: Machine) -> None:
    files = [cached(machine, f"/assets/{number}.js") for number in range(20)]
    writing = files[0].with_name(f"{files[0].name}.0000000012")
    writing.write_bytes(b"half")
    odd = [Path(machine.layout.cache) / name for name in ("a\nb", "-rf", "* ; $(x)", " ")]
    for file in odd:
        file.write_text("x")
    answer = machine.run("purge")
    assert (answer.end, answer["removed"]) == ("ok", "24")
    assert writing.exists()
    assert not any(file.exists() for file in (*files, *odd))


def test_purge_follows_no_link(machine: Machine) -> None:
    outside = machine.root / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "precious").write_text("x")
    file = cached(machine, "/page")
    cache = Path(machine.layout.cache)
    (cache / "link").symlink_to(outside)
    (cache / "file-link").symlink_to(outside / "precious")
    answer = machine.run("purge")
    assert answer["removed"] == "3"
    assert not file.exists()
    assert (outside / "precious").exists()


@pytest.mark.parametrize("path", ["", "/page"])
def test_purge_refuses_to_leave_the_cache_folder(machine: Machine, path: str) -> None:
    outside = machine.root / "outside"
    outside.mkdir()
    (outside / "precious").write_text("\nKEY: /page\n")
    Path(machine.layout.cache).symlink_to(outside)
    answer = purge(machine, path) if path else machine.run("purge")
    assert answer.end.startswith("refused")
    assert (outside / "precious").exists()


def test_purge_of_one_path_takes_its_variants_and_nothing_else(machine: Machine) -> None:
    path = "/ui-schema/a.json?v=1&x='%20;"
    mine, variant = cached(machine, path), cached(machine, path, "another variant of it")
    others = [cached(machine, key) for key in (f"{path}2", "/ui-schema/a.json", "/other")]
    answer = purge(machine, path)
    assert (answer.end, answer["removed"]) == ("ok", "2")
    assert not mine.exists()
    assert not variant.exists()
    assert all(file.exists() for file in others)
    assert purge(machine, path)["removed"] == "0"


@pytest.mark.parametrize("path", ["page", "/a b", "/a\nKEY: /b", "/\x1b[2J", "/" + "a" * 5000])
def test_purge_refuses_what_is_no_request_target(machine: Machine, path: str) -> None:
    file = cached(machine, "/a")
    assert purge(machine, path).end.startswith(("usage", "refused"))
    assert file.exists()


def test_purge_without_a_cache_folder_is_nothing(machine: Machine) -> None:
    assert machine.run("purge")["removed"] == "0"


# ---------------------------------------------------------------- gc


def test_gc_keeps_what_serves_what_was_before_and_the_original(machine: Machine) -> None:
    machine.start_nginx()
    built = [machine.release(f"page {number}") for number in range(4)]
    for number, release in enumerate(built):
        machine.push(release, f"t{number}")
    wait_until(lambda: not machine.processes(str(machine.script)))  # the last push tidies up too
    text = machine.script.read_text().replace("KEEP=5\n", "KEEP=1\n")
    machine.script.write_text(text)
    releases = machine.state / "releases"
    dead = releases / ".in.999999999"
    dead.mkdir()
    staged = releases / ".staged-0123456789ab"
    staged.mkdir()
    os.utime(staged, (0, 0))
    answer = machine.run("gc")
    assert (answer.end, answer["removed"]) == ("ok", "4")
    left = {entry.name for entry in releases.iterdir()}
    assert left == {"original", built[2].id, built[3].id}
    machine.agrees(built[3].id, "page 3")


# ---------------------------------------------------------------- upgrade


def newer(machine: Machine, comment: str = "# newer") -> bytes:
    return f"{machine.script.read_text()}\n{comment}\n".encode()


def test_upgrade_replaces_the_script(machine: Machine) -> None:
    content = newer(machine)
    answer = upload(machine, "upgrade", content)
    assert answer.end == "ok", answer
    assert machine.script.read_bytes() == content
    assert machine.script.stat().st_mode & 0o777 == 0o755
    assert machine.run("status").end == "ok"
    assert upload(machine, "upgrade", content).end == "ok"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"#!/bin/sh\nif then\n", "does not read it"),
        (b"#!/bin/sh\nexit 0\n", "does not answer"),
        (b"#!/bin/sh\nprintf 'kome-node 1 status\\nlive 0123456789ab\\nend ok\\n'\n", "does not"),
        (b"#!/usr/bin/python\n", "no kome-node"),
    ],
)
def test_upgrade_refuses_a_script_that_does_not_work(
    machine: Machine, content: bytes, why: str
) -> None:
    before = machine.script.read_bytes()
    answer = upload(machine, "upgrade", content)
    assert answer.end.startswith("refused")
    assert why in answer.end
    assert machine.script.read_bytes() == before


def test_upgrade_refuses_a_damaged_or_short_upload(machine: Machine) -> None:
    content = newer(machine)
    before = machine.script.read_bytes()
    assert "damaged" in upload(machine, "upgrade", content, sha256="0" * 64).end
    assert "cut short" in upload(machine, "upgrade", content, size=len(content) + 1).end
    assert machine.script.read_bytes() == before


def test_upgrade_during_a_trial_is_busy(machine: Machine) -> None:
    machine.start_nginx()
    one = machine.release("one")
    machine.stage(one)
    machine.apply(one, "t1")
    assert upload(machine, "upgrade", newer(machine)).end.startswith("busy")
    assert machine.run("confirm", token="t1")["decision"] == "confirmed"


def test_upgrade_cut_off_leaves_the_old_script(machine: Machine) -> None:
    before = machine.script.read_bytes()
    content = newer(machine)
    keys = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    machine.run("upgrade", content, fault="verb.tested", **keys)
    assert machine.script.read_bytes() == before
    assert upload(machine, "upgrade", content).end == "ok"
    assert not list(machine.root.glob(".kome-node*"))


def test_the_script_tells_its_own_digest(machine: Machine) -> None:
    told = machine.run("status")["digest"]
    assert f"DIGEST={told}\n" in node_script(machine.layout)
    other = node_script(machine.layout, reach=[Endpoint(address="127.0.0.1", port=9)])
    assert f"DIGEST={told}\n" not in other


def test_verbs_refuse_what_is_not_on_their_list(machine: Machine) -> None:
    for verb, keys in (
        ("restart", {"how": "reload"}),
        ("reach", {"address": "127.0.0.1;x", "port": "80", "timeout": "1"}),
        ("reach", {"address": "127.0.0.1", "port": "080", "timeout": "1"}),
        ("reach", {"address": "127.0.0.1", "port": "80", "timeout": "99"}),
        ("purge", {"size": "5"}),
        ("upgrade", {}),
    ):
        may_reach(machine, 80)
        answer = machine.run(verb, **keys)
        assert answer.end.startswith("usage"), (verb, keys, answer.end)


def test_no_verb_leaves_a_process_or_a_folder_behind(machine: Machine) -> None:
    machine.start_nginx()
    cached(machine, "/a")
    for verb, keys in (("gc", {}), ("purge", {}), ("restart", {"how": "restart"})):
        machine.run(verb, **keys)
    upload(machine, "upgrade", newer(machine))
    assert not list((machine.root / "run").glob("stream.*"))
    wait_until(lambda: not machine.processes(str(machine.script)))
    held = subprocess.run(["flock", "-n", machine.root / "run/lock", "true"], check=False)
    assert held.returncode == 0  # nginx, started by restart, has not inherited the lock
