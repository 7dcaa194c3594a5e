"""The disks that machines start from: built once by scripts/machine-image.sh, kept between runs."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.machines.cgroups import writable_roots

ImageName = Literal["bare", "serving"]

# Read when this is imported: a test run has an empty home folder of its own later.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kome-tui-tests"

CHECKOUT = Path(__file__).resolve().parents[2]
_SCRIPT = CHECKOUT / "scripts" / "machine-image.sh"
_NO_DOWNLOAD = 3
_BUILD_S = 900.0
_TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "redis-server": "redis-server",
    "mkfs.ext4": "e2fsprogs",
    "ssh": "openssh-client",
}

# What a machine needs of the kernel, tried in namespaces that are gone afterwards.
_TRIAL = """
mount -t tmpfs trial /run && mkdir /run/low /run/up /run/work /run/all || exit
mount -t overlay -o lowerdir=/run/low,upperdir=/run/up,workdir=/run/work overlay /run/all || exit
ip link add name lan type bridge && ip link add name a type veth peer name b || exit
nft 'add table bridge trial'
"""


class Unavailable(Exception):
    """This computer can't have machines; the text is one line that says why."""


@dataclass(frozen=True)
class Image:
    """The folder with the disks; they are only read."""

    folder: Path

    def disk(self, name: ImageName) -> Path:
        """bare: Debian with sshd and sudo. serving: the same with Debian's nginx-light."""
        return self.folder / name

    @property
    def packages(self) -> Path:
        """nginx-light and what it needs, as .deb files."""
        return self.folder / "packages"


@contextmanager
def machine_image() -> Iterator[Image]:
    """The images, built if need be, and not removed by another run while the block lasts.

    Raises Unavailable where this is not root on Linux, or lacks a tool or the kernel for it.
    """
    check_this_computer()
    built = subprocess.run(
        ["sh", str(_SCRIPT), str(CACHE)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    if built.returncode == _NO_DOWNLOAD:
        raise Unavailable("the Debian packages for them cannot be fetched now")
    if built.returncode != 0:
        raise Unavailable("their images cannot be built here; the reason is printed above")
    folder = Path(built.stdout.strip())
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield Image(folder)


def check_this_computer() -> None:
    """Raises Unavailable where this computer can't have machines; takes a tenth of a second."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unavailable("they need root on Linux")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        packages = sorted({_TOOLS[tool] for tool in missing})
        raise Unavailable(f"no {', '.join(missing)} here (apt install {' '.join(packages)})")
    if not writable_roots():
        raise Unavailable("the control groups of this computer cannot be written")
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", _TRIAL],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if tried.returncode != 0:
        reason = " ".join(tried.stderr.split()) or f"exit {tried.returncode}"
        raise Unavailable(f"this kernel or container does not allow it: {reason}")
