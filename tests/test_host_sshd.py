"""sshd itself, on the rule for the console's user."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kome_tui.nginx.host import host_files
from tests.builders_topology import topology, topology_values
from tests.host_programs import checked, file_at, needs, program, put
from tests.ports import free_port
from tests.upstreams import Upstream, answer
from tests.waiting import wait_until

NODE = "node-03"


@dataclass(frozen=True, slots=True)
class Login:
    """A key that the real sshd on a port of loopback lets in."""

    port: int
    key: Path

    def ssh(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """OpenSSH's client, with no configuration but this."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "LogLevel": "INFO",
            "ConnectTimeout": "20",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        login = ["-i", f"{self.key}", "-p", f"{self.port}", "root@127.0.0.1"]
        command = [program("ssh"), "-F", "none", *flags, *login, *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


@contextmanager
def sshd(folder: Path, **over: Any) -> Iterator[Login]:
    """The real sshd with our rule for root, behind a stranger's that forbids forwarding."""
    for name in ("host", "key"):
        make = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"]
        subprocess.run(make, check=True, timeout=60)
    folder.chmod(0o755)
    (folder / "authorized").write_text((folder / "key.pub").read_text())
    rules = put(file_at(host_files(topology(**over), NODE), "10-kome.conf"), folder).parent
    (rules / "05-strict.conf").write_text("AllowTcpForwarding no\nX11Forwarding yes\n")
    port = free_port()
    conf = folder / "sshd_config"
    conf.write_text(
        f"Include {rules}/*.conf\nListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nAuthorizedKeysFile {folder}/authorized\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication yes\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # made by Debian's unit
    with (folder / "sshd.out").open("wb") as out:
        process = subprocess.Popen([program("sshd"), "-D", "-e", "-f", f"{conf}"], stderr=out)
    try:
        wait_until(lambda: "listening on" in (folder / "sshd.out").read_text())
        yield Login(port, folder / "key")
    finally:
        process.terminate()
        process.wait(20)


@needs("sshd", "ssh", "ssh-keygen")
def test_sshd_forwards_to_an_upstream_and_to_nothing_else(tmp_path: Path) -> None:
    values = topology_values()
    with Upstream(lambda _: answer("hello")) as okome, Upstream(lambda _: answer("no")) as other:
        values["upstreams"]["okome"] = {"address": "127.0.0.1", "port": okome.port}
        request = "GET / HTTP/1.0\r\n\r\n"
        with sshd(tmp_path, upstreams=values["upstreams"], ssh={"user": "root"}) as login:
            let = login.ssh("-W", f"127.0.0.1:{okome.port}", stdin=request)
            assert "hello" in let.stdout, let.stderr
            stopped = login.ssh("-W", f"127.0.0.1:{other.port}", stdin=request)
            assert stopped.returncode != 0
            assert "administratively prohibited" in stopped.stderr
            back = login.ssh("-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:x:1", "true")
            assert back.returncode != 0
            assert login.ssh("echo", "still a shell").stdout == "still a shell\n"
        assert other.paths() == []


@needs("sshd", "ssh-keygen")
def test_the_rule_is_for_the_one_user_and_closes_behind_itself(tmp_path: Path) -> None:
    with sshd(tmp_path, ssh={"user": "kome"}) as login:
        conf = tmp_path / "sshd_config"
        del login

        def setting(user: str) -> set[str]:
            who = f"user={user},host=a,addr=127.0.0.1"
            command = [program("sshd"), "-T", "-f", f"{conf}", "-C", who]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            return set(ran.stdout.splitlines())

        ours, others = setting("kome"), setting("pi")
    assert {
        "allowtcpforwarding local",
        "allowagentforwarding no",
        "allowstreamlocalforwarding no",
        "x11forwarding no",
        "permittunnel no",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "permitlisten none",
    } <= ours
    assert {
        "allowtcpforwarding no",
        "x11forwarding yes",
        "passwordauthentication yes",
        "permitopen any",
    } <= others


@needs("sshd")
def test_the_check_of_sshds_rule_can_fail(tmp_path: Path) -> None:
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    file = file_at(host_files(topology(), NODE), "10-kome.conf")
    path = put(file, tmp_path)
    path.write_text(file.text.replace("PermitOpen", "PermitOpenTo"))
    ran = checked(file, path)
    assert ran.returncode != 0
    assert "PermitOpenTo" in ran.stderr
