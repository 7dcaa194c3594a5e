"""Programs of a Debian host that tests run for real, and how a host's files get into a folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kome_tui.nginx.host import HostFile, HostFiles

SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def needs(*programs: str, root: bool = True) -> pytest.MarkDecorator:
    """Skip, and say so, where a program is missing or only root on Linux could do it."""
    missing = [name for name in programs if not shutil.which(name, path=SYSTEM_PATH)]
    if missing:
        return pytest.mark.skipif(True, reason=f"not installed: {', '.join(missing)}")
    unable = root and (sys.platform != "linux" or os.geteuid() != 0)
    return pytest.mark.skipif(unable, reason="only root on Linux can do this")


def program(name: str) -> str:
    """The path of a program that `needs` has found."""
    found = shutil.which(name, path=SYSTEM_PATH)
    assert found is not None
    return found


def file_at(host: HostFiles, ending: str) -> HostFile:
    """The one file whose path ends so."""
    [found] = [file for file in host.files if file.path.endswith(ending)]
    return found


def put(file: HostFile, below: Path) -> Path:
    """Write a file where it belongs below a folder, with its mode; owned by who runs the test."""
    target = below / file.path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(file.text)
    target.chmod(file.mode)
    return target


def checked(file: HostFile, path: Path) -> "subprocess.CompletedProcess[str]":
    """A file's own check, on a copy of it."""
    return subprocess.run([*file.check, f"{path}"], capture_output=True, text=True, timeout=60)
