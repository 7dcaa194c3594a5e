"""What the node script reads: status, facts, the live file and the access log across rotations."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_machine import Answer, Machine, Shell, parsed
from tests.waiting import wait_until


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.close()


class Stream:
    """A running facts or follow, read in the background."""

    def __init__(self, started: "subprocess.Popen[bytes]") -> None:
        self.started = started
        self.out = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.started.stdout is not None
        while block := os.read(self.started.stdout.fileno(), 65536):
            self.out += block

    def so_far(self) -> Answer:
        """What has arrived whole."""
        out = self.out
        return parsed(0, out, under_way=True) if b"\n" in out else Answer(0, "")

    def log(self) -> bytes:
        return b"".join(block for _, _, block in self.so_far().data)

    def end(self) -> Answer:
        """Close standard input, as a console that goes away does."""
        assert self.started.stdin is not None
        assert self.started.stdout is not None
        assert self.started.stderr is not None
        self.started.stdin.close()
        code = self.started.wait(timeout=2.5)
        self._reader.join(timeout=2)
        self.started.stdout.close()
        self.started.stderr.close()
        return parsed(code, self.out)


def append(path: Path, text: str) -> None:
    with path.open("a") as log:
        log.write(text)


# ---------------------------------------------------------------- status, live, facts


def test_status_of_a_node_never_set_up(machine: Machine) -> None:
    machine.start_nginx()
    status = machine.run("status")
    assert status.end == "ok"
    assert {status[key] for key in ("live", "running", "previous", "trial", "last", "kept")} == {
        "-"
    }
    assert (status["nginx"], status["drift"], status["script"]) == ("serving", "no", "1")
    assert status["version"].count(".") == 2
    assert not machine.state.exists()


def test_status_of_a_stopped_nginx(machine: Machine) -> None:
    status = machine.run("status")
    assert (status["nginx"], status["running"]) == ("stopped", "-")


def test_status_counts_room(machine: Machine) -> None:
    machine.start_nginx()
    machine.push(machine.release("one"), "t1")
    status = machine.run("status")
    room = os.statvfs(machine.state)
    assert int(status["disk_free"]) == pytest.approx(room.f_bavail * room.f_frsize, rel=0.01)
    assert int(status["inodes_free"]) == pytest.approx(room.f_favail, rel=0.01)


def test_live_sends_the_file_that_nginx_is_told_to_use(machine: Machine) -> None:
    machine.start_nginx()
    assert machine.run("live").data == [(0, 0, machine.original())]
    built = machine.release("one")
    machine.push(built, "t1")
    assert machine.run("live").data == [(0, 0, built.conf)]


def test_facts_are_frames_until_the_console_goes(machine: Machine) -> None:
    machine.start_nginx()
    built = machine.release("one")
    machine.push(built, "t1")
    (machine.root / "cache/kome/ab").mkdir()
    (machine.root / "cache/kome/ab/x").write_bytes(b"x" * 1000)
    stream = Stream(machine.start("facts", interval="0.2"))
    wait_until(lambda: len(stream.so_far().frames) >= 3)
    frames = stream.end().frames
    first, last = frames[0], frames[-1]
    assert set(first) == {
        "live",
        "drift",
        "nginx",
        "connections",
        "cpu_ticks",
        "clock_ticks_per_s",
        "uptime_s",
        "memory",
        "cache_bytes",
        "cache_files",
        "disk_free",
        "old_workers",
    }
    assert (first["live"], first["drift"], first["nginx"]) == (built.id, "no", "serving")
    assert (first["cache_bytes"], first["cache_files"]) == ("1000", "1")
    assert int(first["connections"]) >= 1
    assert int(first["clock_ticks_per_s"]) == os.sysconf("SC_CLK_TCK")
    assert 1_000_000 < int(first["memory"]) < 100_000_000
    assert float(last["uptime_s"]) - float(first["uptime_s"]) >= 0.4
    assert int(last["cpu_ticks"]) >= int(first["cpu_ticks"]) >= 0
    assert not list((machine.root / "run").glob("stream.*"))


def test_facts_show_drift_and_a_stopped_nginx(machine: Machine) -> None:
    machine.start_nginx()
    machine.push(machine.release("one"), "t1")
    stream = Stream(machine.start("facts", interval="0.1"))
    wait_until(lambda: stream.so_far().frames)
    append(machine.root / "etc/nginx.conf", "# by hand\n")
    wait_until(lambda: stream.so_far().frames[-1]["drift"] == "yes")
    os.kill(machine.master() or 0, signal.SIGTERM)
    wait_until(lambda: stream.so_far().frames[-1]["nginx"] == "stopped")
    frame = stream.end().frames[-1]
    assert (frame["cpu_ticks"], frame["memory"], frame["connections"]) == ("-", "-", "-")


def test_facts_count_old_workers(machine: Machine) -> None:
    machine.start_nginx()
    machine.push(machine.release("one"), "t1")
    with socket.create_connection(("127.0.0.1", machine.port)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")  # a request that is not finished keeps its worker
        two = machine.release("two")
        machine.push(two, "t2")
        stream = Stream(machine.start("facts", interval="0.1"))
        wait_until(lambda: stream.so_far().frames)
        assert stream.end().frames[0]["old_workers"] == "1"
    machine.agrees(two.id, "two")


# ---------------------------------------------------------------- the access log


@pytest.mark.parametrize("shell", ["dash", "busybox", "bash"])
def test_follow_goes_on_across_a_rotation(tmp_path: Path, shell: Shell) -> None:
    machine = Machine(tmp_path, shell)
    try:
        log, rotated = tmp_path / "log/access.log", tmp_path / "log/access.log.1"
        log.write_text("seen before\n")
        stream = Stream(machine.start("follow", inode="-", offset=0))
        wait_until(lambda: stream.so_far().data)
        assert stream.so_far().data[0] == (log.stat().st_ino, 12, b"")
        append(log, "one\n")
        wait_until(lambda: stream.log() == b"one\n")
        log.rename(rotated)
        append(rotated, "two, before nginx reopens\n")
        log.write_text("")
        wait_until(lambda: stream.log().endswith(b"reopens\n"))
        append(log, "three\n")
        append(rotated, "late\n")
        wait_until(lambda: stream.log().endswith(b"three\n"))
        answer = stream.end()
        assert answer.end == "ok"
        text = b"".join(block for _, _, block in answer.data)
        assert text == b"one\ntwo, before nginx reopens\nlate\nthree\n"
        assert answer.data[-1][:2] == (log.stat().st_ino, 0)
        assert not list((tmp_path / "run").glob("stream.*"))
    finally:
        machine.close()


def test_follow_comes_back_to_where_it_was_in_a_rotated_file(machine: Machine) -> None:
    log = machine.root / "log/access.log"
    log.write_text("a\nb\n")
    inode = log.stat().st_ino
    log.rename(machine.root / "log/access.log.2")
    (machine.root / "log/access.log.1").write_text("c\n")
    log.write_text("d\n")
    stream = Stream(machine.start("follow", inode=inode, offset=2))
    wait_until(lambda: stream.log() == b"b\nc\nd\n")
    assert stream.end().data[0][:2] == (inode, 2)


def test_follow_starts_over_when_the_file_is_cut(machine: Machine) -> None:
    log = machine.root / "log/access.log"
    log.write_text("a long first line\n")
    stream = Stream(machine.start("follow", inode=log.stat().st_ino, offset=0))
    wait_until(lambda: stream.log().endswith(b"line\n"))
    log.write_text("new\n")
    wait_until(lambda: stream.log().endswith(b"line\nnew\n"))
    stream.end()


def test_follow_waits_for_a_log_that_is_not_there_and_ticks(machine: Machine) -> None:
    log = machine.root / "log/access.log"
    stream = Stream(machine.start("follow", inode="-", offset=0))
    wait_until(lambda: stream.so_far().ticks)
    log.write_text("first\n")
    wait_until(lambda: stream.log() == b"first\n")
    wait_until(lambda: stream.so_far().ticks >= 2)
    stream.end()


def test_follow_sends_raw_bytes_and_large_files_whole(machine: Machine) -> None:
    log = machine.root / "log/access.log"
    written = bytes(range(256)) * 3000 + b"\nend ok\n"
    log.write_bytes(written)
    stream = Stream(machine.start("follow", inode=log.stat().st_ino, offset=0))
    wait_until(lambda: len(stream.out) > len(written))
    wait_until(lambda: stream.log() == written)
    stream.end()


def test_follow_ends_when_the_reader_is_gone(machine: Machine) -> None:
    started = machine.start("follow", inode="-", offset=0)
    assert started.stdout is not None
    started.stdout.close()
    append(machine.root / "log/access.log", "line\n")
    started.wait(timeout=5)
    started.communicate(timeout=5)
    wait_until(lambda: not machine.processes(str(machine.script)))


def test_readlog_starts_at_a_line_and_takes_the_rotated_file_first(machine: Machine) -> None:
    log, rotated = machine.root / "log/access.log", machine.root / "log/access.log.1"
    rotated.write_text("old one\nold two\nold three\n")
    log.write_text("new\n")
    answer = machine.run("readlog", bytes=18)
    assert answer.end == "ok"
    assert answer.data == [
        (rotated.stat().st_ino, 16, b"old three\n"),
        (log.stat().st_ino, 0, b"new\n"),
    ]
    assert machine.run("readlog", bytes=4).data == [(log.stat().st_ino, 0, b"new\n")]


def test_readlog_without_a_log_is_empty(machine: Machine) -> None:
    answer = machine.run("readlog", bytes=100)
    assert (answer.end, answer.data) == ("ok", [])
