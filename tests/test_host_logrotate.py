"""Rotation by the real logrotate, under a real nginx that writes."""

import contextlib
import gzip
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kome_tui.nginx.host import Diversion, host_files
from kome_tui.topology.model import Topology
from tests.builders_topology import topology
from tests.host_programs import file_at, needs, program, put
from tests.nginx_process import Build, builds
from tests.nginx_site import Site, site
from tests.waiting import wait_until

NODE = "node-03"

pytestmark = needs("logrotate", "gzip")


@dataclass(frozen=True, slots=True)
class Rotation:
    """logrotate on one file of ours, with a state of its own."""

    conf: Path
    state: Path

    def run(self, *flags: str) -> str:
        """One run; what it says. It must succeed."""
        command = [program("logrotate"), "-v", "-s", f"{self.state}", *flags, f"{self.conf}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "error:" not in ran.stderr, ran.stderr
        return ran.stdout + ran.stderr


def rotation(fleet: Topology, folder: Path) -> Rotation:
    """The rotation of NODE's logs; its files go below `folder`."""
    conf = put(file_at(host_files(fleet, NODE), "logrotate.d/nginx"), folder)
    return Rotation(conf, folder / "state")


# The rotation finds nginx by its process title, which one that a loader runs does not have.
PROGRAMS = [found for found in builds() if found.binary.read_bytes()[:4] == b"\x7fELF"]


@pytest.fixture(scope="module", params=PROGRAMS, ids=str)
def build(request: pytest.FixtureRequest) -> Build:
    found: Build = request.param
    return found


@pytest.fixture
def served(build: Build, tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, build, [NODE], disk={"log": "20k"}) as running:
        yield running


def rotated(served: Site, rotate: Rotation, *flags: str) -> None:
    """Rotate, and wait until every nginx process writes to the new file: USR1 is not waited for."""
    before = served.log(NODE).stat().st_ino
    rotate.run(*flags)
    assert served.log(NODE).stat().st_ino != before
    master = served.nodes[NODE].process.pid
    children = Path(f"/proc/{master}/task/{master}/children")

    def reopened() -> bool:
        pids = (str(master), *children.read_text().split())
        files = {inode for pid in pids for inode in _open_inodes(Path(f"/proc/{pid}/fd"))}
        return served.log(NODE).stat().st_ino in files and before not in files

    wait_until(reopened)


def _open_inodes(folder: Path) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):  # a process that has ended meanwhile
        for fd in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield fd.stat().st_ino


def names(served: Site) -> set[str]:
    """The access logs there are."""
    return {path.name for path in served.log(NODE).parent.glob("access.log*")}


def test_nine_rotations_keep_seven_and_lose_no_line(served: Site, tmp_path: Path) -> None:
    rotate = rotation(served.topology, tmp_path)
    folder = served.log(NODE).parent
    for number in range(9):
        with served.log(NODE).open("a") as log:  # an empty log is not rotated
            log.write("a line\n")
        served.ask(f"/v1/before-{number}", NODE)  # nginx writes it late, perhaps after the rename
        rotated(served, rotate, "--force")
        assert f"\t/v1/before-{number}\t" in (folder / "access.log.1").read_text()
    assert names(served) == {
        "access.log",
        "access.log.1",
        *(f"access.log.{number}.gz" for number in range(2, 8)),
    }
    for number in range(2, 8):
        with gzip.open(folder / f"access.log.{number}.gz", "rt") as old:
            assert f"\t/v1/before-{9 - number}\t" in old.read()
    served.ask("/v1/after", NODE)
    wait_until(lambda: "\t/v1/after\t" in served.log(NODE).read_text())
    assert served.log(NODE).stat().st_mode & 0o777 == 0o640
    assert "emerg" not in served.nodes[NODE].errors()


def test_a_log_is_rotated_at_its_size_and_not_before(served: Site, tmp_path: Path) -> None:
    rotate = rotation(served.topology, tmp_path)
    served.ask("/v1/first", NODE)
    wait_until(lambda: served.log(NODE).stat().st_size > 0)
    rotate.run()
    assert names(served) == {"access.log"}
    for number in range(15):
        served.ask(f"/v1/{number}/{'x' * 2000}", NODE)
    wait_until(lambda: served.log(NODE).stat().st_size > 20 * 1024)
    rotated(served, rotate)
    assert names(served) == {"access.log", "access.log.1"}


def test_the_unit_runs_logrotate_only_where_a_log_has_reached_its_size(tmp_path: Path) -> None:
    fleet = topology(layout={"log": f"{tmp_path}/log"}, disk={"log": "1k"})
    text = file_at(host_files(fleet, NODE), "kome-logs.service").text
    [line] = [row for row in text.splitlines() if row.startswith("ExecCondition=")]
    condition = shlex.split(line.removeprefix("ExecCondition="))
    log = tmp_path / "log" / "access.log"
    log.parent.mkdir()

    def is_due() -> bool:
        return subprocess.run(condition, timeout=20).returncode == 0

    assert not is_due()
    log.write_bytes(b"x" * 1023)
    (log.parent / "access.log.1").write_bytes(b"x" * 5000)
    assert not is_due()
    log.write_bytes(b"x" * 1024)
    assert is_due()


def test_a_stale_pid_file_costs_no_stranger_its_life(tmp_path: Path) -> None:
    log = tmp_path / "log" / "access.log"
    log.parent.mkdir()
    pid = tmp_path / "nginx.pid"
    rotate = rotation(
        topology(layout={"log": f"{log.parent}", "pid": f"{pid}", "user": "root"}), tmp_path
    )
    log.write_text("a line\n")
    rotate.run("--force")  # no pid file
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        pid.write_text(f"{stranger.pid}\n")
        log.write_text("a line\n")
        rotate.run("--force")
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGUSR1)  # what it would have got ends it
        assert stranger.wait(20) == -signal.SIGUSR1
    finally:
        stranger.kill()
        stranger.wait(20)
    assert (log.parent / "access.log.2.gz").exists()


def test_two_files_for_the_same_logs_are_an_error_and_the_diverted_one_is_not(
    tmp_path: Path,
) -> None:
    fleet = topology(layout={"log": f"{tmp_path}/log", "user": "root"})
    host = host_files(fleet, NODE)
    ours = put(file_at(host, "logrotate.d/nginx"), tmp_path)
    [diversion] = host.diversions
    whole = tmp_path / "logrotate.conf"
    whole.write_text(f"include {ours.parent}\n")

    def says(aside: str) -> str:
        theirs = ours.parent / aside
        theirs.write_text(f"{tmp_path}/log/*.log {{\n    daily\n}}\n")
        command = [program("logrotate"), "--debug", "-s", f"{tmp_path}/state", f"{whole}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        theirs.unlink()
        return ran.stderr

    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "access.log").write_text("a line\n")
    assert "duplicate log entry" in says("other-name")
    assert "error" not in says(Path(diversion.aside).name)


@needs("dpkg", "dpkg-deb", "dpkg-divert")
@pytest.mark.parametrize("first", ["package", "diversion"])
def test_the_package_keeps_its_file_aside_through_upgrades(tmp_path: Path, first: str) -> None:
    [diversion] = host_files(topology(), NODE).diversions
    root = _dpkg_root(tmp_path)
    ours = root / diversion.path.lstrip("/")
    aside = root / diversion.aside.lstrip("/")
    if first == "package":
        _install(root, tmp_path, "1")
    _divert(root, diversion.make)
    ours.write_text("ours\n")
    for version in ("2", "3"):
        _install(root, tmp_path, version)
        assert (ours.read_text(), aside.read_text()) == ("ours\n", f"theirs {version}\n")
    _divert(root, diversion.make)
    assert ours.read_text() == "ours\n"
    ours.unlink()
    _divert(root, diversion.undo)
    assert ours.read_text() == "theirs 3\n"
    assert not aside.exists()


def test_a_diversion_names_a_file_of_ours() -> None:
    host = host_files(topology(), NODE)
    assert {each.path for each in host.diversions} <= {file.path for file in host.files}
    assert Diversion("/a", "/b").make[-1] == "/a"


def _dpkg_root(folder: Path) -> Path:
    root = folder / "root"
    for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "var/lib/dpkg/available").touch()
    (root / "etc/logrotate.d").mkdir(parents=True)
    return root


def _divert(root: Path, words: tuple[str, ...]) -> None:
    command = [program(words[0]), "--root", f"{root}", *words[1:]]
    subprocess.run(command, check=True, timeout=60)


def _install(root: Path, folder: Path, version: str) -> None:
    tree = folder / f"package-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "etc/logrotate.d").mkdir(parents=True)
    (tree / "etc/logrotate.d/nginx").write_text(f"theirs {version}\n")
    (tree / "DEBIAN/conffiles").write_text("/etc/logrotate.d/nginx\n")
    (tree / "DEBIAN/control").write_text(
        f"Package: stand-in\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@localhost>\n"
        "Description: a package with a logrotate file\n"
    )
    built = folder / f"{version}.deb"
    quiet = {"check": True, "timeout": 60, "stdout": subprocess.DEVNULL}
    subprocess.run([program("dpkg-deb"), "--build", f"{tree}", f"{built}"], **quiet)  # type: ignore[call-overload]
    install = [program("dpkg"), f"--root={root}", "--log=/dev/null", "--install", f"{built}"]
    subprocess.run(install, stdin=subprocess.DEVNULL, **quiet)  # type: ignore[call-overload]
