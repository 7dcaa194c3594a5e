"""sudo itself, on the one rule we give it."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kome_tui.nginx.host import HostFile, host_files
from tests.builders_topology import topology
from tests.host_programs import checked, file_at, needs, program, put

NODE = "node-03"

# In a mount namespace of its own: our rules alone in /etc/sudoers.d, a script that says who it is,
# a system log that the test reads. `nobody` stands for the ssh user.
SUDO_PLACE = """
set -e
mount --bind "$1" /etc/sudoers.d
mount -t tmpfs tmpfs /usr/local/sbin
printf '#!/bin/sh\\nid -u\\ncat\\n' >/usr/local/sbin/kome-node
chmod 755 /usr/local/sbin/kome-node
cp /usr/local/sbin/kome-node /usr/local/sbin/other
mount -t tmpfs tmpfs /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/urandom c 1 9
: >/dev/log
mount --bind "$2" /dev/log
shift 2
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Sudo:
    """sudo with one file of rules."""

    rules: Path
    log: socket.socket

    def run(self, *command: str, user: str = "nobody") -> subprocess.CompletedProcess[str]:
        """`sudo -n COMMAND` as `user`, with a line on its standard input."""
        place = [program("unshare"), "--mount", "sh", "-c", SUDO_PLACE, "sh"]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        if user == "nobody":
            become[2] = "--regid=nogroup"
        asked = [*become, "sudo", "-n", *command]
        return subprocess.run(
            [*place, f"{self.rules.parent}", self.log.getsockname(), *asked],
            input="kome/1 status\n",
            capture_output=True,
            text=True,
            timeout=60,
        )

    def logged(self) -> list[str]:
        """What has gone to the system log since the last look."""
        found = []
        while True:
            try:
                found.append(self.log.recv(8192, socket.MSG_DONTWAIT).decode("utf-8", "replace"))
            except BlockingIOError:
                return found


@contextmanager
def sudo_with(folder: Path, text: str) -> Iterator[Sudo]:
    """sudo with `text` as its only file of rules beside the machine's /etc/sudoers."""
    rules = folder / "sudoers.d" / "kome"
    rules.parent.mkdir(exist_ok=True)
    rules.write_text(text)
    rules.chmod(0o440)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(f"{folder}/log")
        Path(f"{folder}/log").chmod(0o666)
        yield Sudo(rules, log)


def sudoers() -> HostFile:
    return file_at(host_files(topology(ssh={"user": "nobody"}), NODE), "sudoers.d/kome")


@needs("sudo", "visudo", "setpriv", "unshare")
def test_sudo_runs_the_script_as_root_and_leaves_no_line_in_the_log(tmp_path: Path) -> None:
    with sudo_with(tmp_path, sudoers().text) as sudo:
        ran = sudo.run("/usr/local/sbin/kome-node")
        assert (ran.returncode, ran.stdout) == (0, "0\nkome/1 status\n"), ran.stderr
        assert sudo.logged() == []


@needs("sudo", "visudo", "setpriv", "unshare")
def test_without_our_defaults_every_call_would_be_logged(tmp_path: Path) -> None:
    rule = "".join(row for row in sudoers().text.splitlines(True) if "Defaults" not in row)
    with sudo_with(tmp_path, rule) as sudo:
        assert sudo.run("/usr/local/sbin/kome-node").returncode == 0
        lines = sudo.logged()
    assert any("COMMAND=/usr/local/sbin/kome-node" in line for line in lines)
    assert any("session opened" in line for line in lines)


@needs("sudo", "visudo", "setpriv", "unshare")
@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("nobody", ("/usr/local/sbin/kome-node", "status")),
        ("nobody", ("/usr/local/sbin/kome-node", "")),
        ("nobody", ("/usr/local/sbin/other",)),
        ("nobody", ("/bin/sh", "-c", "id -u")),
        ("nobody", ("-u", "daemon", "/usr/local/sbin/kome-node")),
        ("daemon", ("/usr/local/sbin/kome-node",)),
    ],
    ids=["argument", "empty-argument", "other-script", "shell", "other-target", "other-user"],
)
def test_sudo_refuses_everything_else(tmp_path: Path, user: str, command: tuple[str, ...]) -> None:
    with sudo_with(tmp_path, sudoers().text) as sudo:
        ran = sudo.run(*command, user=user)
        assert ran.returncode == 1
        assert ran.stdout == ""
        print(ran.stderr)
        assert "a password is required" in ran.stderr or "not allowed" in ran.stderr, ran.stderr
        # A later sudo may log it; the comment in our file would have to say so.
        assert sudo.logged() == []


@needs("visudo")
def test_visudo_accepts_the_rules_and_its_check_can_fail(tmp_path: Path) -> None:
    file = sudoers()
    path = put(file, tmp_path)
    assert checked(file, path).returncode == 0
    path.chmod(0o640)
    path.write_text(file.text.replace("NOPASSWD:", "NOPASSWORD:"))
    assert checked(file, path).returncode != 0
