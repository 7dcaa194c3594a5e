"""Who has a lab's folder, and which processes count as the lab's."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from kome_tui.errors import LabError
from kome_tui.lab import cleanup
from kome_tui.lab.claim import Claim
from kome_tui.lab.cleanup import Process
from tests.waiting import wait_until

FOLDER = Path("/tmp/nginx-redis/lab")


def sleeping() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "60"], start_new_session=True)


def test_group_counts_until_all_of_it_has_ended(tmp_path: Path) -> None:
    with Claim(tmp_path / "lab") as claim, sleeping() as first, sleeping() as second:
        claim.note_group(first.pid, begins=True)
        claim.note_group(second.pid, begins=True)
        claim.note_group(first.pid, begins=False)
        assert claim.groups() == {first.pid, second.pid}
        first.kill()
        first.wait()
        claim.note_group(first.pid, begins=False)
        assert claim.groups() == {second.pid}
        second.kill()


def test_leaving_a_claim_ends_its_groups_and_removes_all_it_made(tmp_path: Path) -> None:
    folder = tmp_path / "a/b/lab"
    with Claim(folder) as claim, sleeping() as process:
        claim.note_group(process.pid, begins=True)
        (folder / "nodes/kome").mkdir(parents=True)
        claim.__exit__(None, None, None)
        assert process.wait() == -signal.SIGKILL
        assert list(tmp_path.iterdir()) == []
        Claim.__init__(claim, folder)  # so that the block can be left


def test_error_in_a_claim_still_gives_the_folder_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Claim(tmp_path / "lab"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_is_refused_at_once_and_stays(tmp_path: Path) -> None:
    with Claim(tmp_path / "lab") as claim:
        with pytest.raises(LabError, match=rf"running in .* already \(pid {os.getpid()}\)"):
            Claim(tmp_path / "lab")
        assert (claim.folder / ".kome-lab").exists()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot use"):
        Claim(tmp_path / "file/lab")


def test_symbolic_link_is_followed_to_one_and_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Claim(tmp_path / "link"), pytest.raises(LabError, match="already"):
        Claim(tmp_path / "real")


OURS = (
    f"nginx: master process /usr/sbin/nginx -e /x -c {FOLDER}/nodes/kome/etc/nginx/nginx.conf",
    f"/usr/sbin/nginx -c {FOLDER}/nodes/kome/etc/nginx/nginx.conf",
    f"/bin/sh {FOLDER}/nodes/kome/kome-node",
    f"sh {FOLDER}/nodes/node-01/kome-node runner",
    f"/usr/bin/setsid /bin/sh {FOLDER}/nodes/kome/kome-node guard",
)
NOT_OURS = (
    f"vim {FOLDER}/nodes/kome/etc/nginx/nginx.conf",
    f"tail -f {FOLDER}/nodes/kome/log/access.log",
    f"grep -r nginx -c {FOLDER}/nodes/",
    f"bash -c less {FOLDER}/nodes/kome/kome-node.txt",
    f"/bin/sh {FOLDER}2/nodes/kome/kome-node",
    f"/usr/sbin/nginx -c {FOLDER}2/nodes/kome/etc/nginx/nginx.conf",
    "nginx: master process /usr/sbin/nginx",
    "redis-server 127.0.0.1:6379",
)


@pytest.mark.parametrize(("commands", "count"), [(OURS, len(OURS)), (NOT_OURS, 0)])
def test_processes_are_told_by_their_command_line(
    monkeypatch: pytest.MonkeyPatch, commands: tuple[str, ...], count: int
) -> None:
    rows = [Process(1000 + n, 1, 1000 + n, command) for n, command in enumerate(commands)]
    monkeypatch.setattr(cleanup, "_processes", lambda: rows)
    found = cleanup.processes_of(FOLDER, frozenset())
    assert len(found) == count, [process.command for process in found]


def test_descendants_and_group_members_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"/bin/sh {FOLDER}/nodes/kome/kome-node"
    rows = [
        Process(10, 1, 10, script),
        Process(11, 10, 10, "sleep 5"),
        Process(12, 11, 12, "curl"),
        Process(13, 1, 10, "orphan of the group"),
        Process(20, 1, 20, "member of a noted group"),
        Process(30, 1, 30, "stranger"),
        Process(os.getppid(), 1, 1, script),
        Process(os.getpid(), 10, 10, "this very process"),
    ]
    monkeypatch.setattr(cleanup, "_processes", lambda: rows)
    found = cleanup.processes_of(FOLDER, frozenset({20}))
    assert {process.pid for process in found} == {10, 11, 12, 13, 20}


@pytest.mark.parametrize(
    ("command", "kind", "is_master"),
    [
        ("nginx: master process /usr/sbin/nginx -c /x", "nginx", True),
        ("/usr/sbin/nginx -c /x", "nginx", True),
        ("nginx: worker process", "nginx", False),
        ("nginx: worker process is shutting down", "nginx", False),
        ("nginx: cache manager process", "nginx", False),
        ("/usr/bin/redis-server 127.0.0.1:20000", "redis", False),
        ("/v/bin/python3 /p/kome_tui/lab/fake_redis.py 20000", "redis", False),
        ("/bin/sh /tmp/nginx-redis/nodes/x/kome-node", "other", False),
    ],
)
def test_kinds_of_processes(command: str, kind: str, is_master: bool) -> None:
    process = Process(1, 1, 1, command)
    assert (process.kind, process.is_master) == (kind, is_master)


def test_pid_file_of_a_dead_nginx_is_not_believed(tmp_path: Path) -> None:
    run = tmp_path / "nodes/kome/run"
    run.mkdir(parents=True)
    with sleeping() as process:
        (run / "nginx.pid").write_text(str(process.pid))
        cleanup.end_processes(tmp_path, frozenset())
        wait_until(lambda: True)
        assert process.poll() is None
        process.kill()
