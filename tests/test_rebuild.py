"""rebuild without machines: what stands in the way, whose keys, what is sent, what is said."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kome_tui.errors import UsageError
from kome_tui.fleet.answers import NodeStatus
from kome_tui.fleet.bootstrap import _LOADER, HostState
from kome_tui.fleet.hostkeys import fingerprint
from kome_tui.fleet.login import public_blob
from kome_tui.fleet.operator_keys import from_file, of_operator
from kome_tui.fleet.script import bootstrap_script, script_digest, script_of
from kome_tui.fleet.sshconfig import SshTarget
from kome_tui.nginx.host import host_files, ports_in_use
from kome_tui.release.outdated import outdated
from kome_tui.release.rebuild import as_user
from kome_tui.release.set_up import Choices, obstacle, shut_out
from kome_tui.topology.load import load, packaged_file
from kome_tui.topology.model import Topology
from tests.command_line import kome_tui
from tests.fleet_site import keygen

BARE_HOST = HostState(
    system="Debian GNU/Linux 12 (bookworm)",
    architecture="amd64",
    missing=("nginx",),
    has_apt=True,
    nginx_version=None,
    has_systemd=True,
    holders=(),
    page=None,
    text=None,
    live=None,
    has_account=False,
    sshd_rules=None,
    wider_sudo=None,
    disk_free_bytes=4 * 1024**3,
    script_sha256=None,
)


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load(packaged_file("topology.yaml"))


def hindered(topology: Topology, **changed: object) -> str | None:
    host = HostState(
        **{**{name: getattr(BARE_HOST, name) for name in BARE_HOST.__slots__}, **changed}
    )  # type: ignore[arg-type]
    return obstacle(topology, "kome", host, Choices("debian"))


# ---------------------------------------------------------------- what stands in the way


def test_nothing_stands_in_the_way_of_a_bare_host(topology: Topology) -> None:
    assert hindered(topology) is None
    assert hindered(topology, holders=("nginx",), page="HTTP/1.1 200 OK") is None
    assert hindered(topology, missing=(), has_apt=False) is None
    assert hindered(topology, missing=(), disk_free_bytes=50 * 1024 * 1024) is None
    assert hindered(topology, sshd_rules="authorizedkeysfile %h/.ssh/authorized_keys;") is None
    assert hindered(topology, sshd_rules="authorizedkeysfile /etc/k;", has_account=True) is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"holders": ("nginx", "apache2")}, "port 80 is held by apache2: only an nginx"),
        ({"has_systemd": False}, "does not run systemd"),
        ({"has_apt": False}, "it has no apt-get, and lacks nginx"),
        ({"disk_free_bytes": 50 * 1024 * 1024}, "50 MB free, 200 MB needed"),
        ({"missing": (), "disk_free_bytes": 1024}, "0 MB free, 4 MB needed"),
        ({"holders": ("other-nginx",)}, "an nginx that /run/nginx.pid does not name"),
        ({"sshd_rules": "authorizedkeysfile /etc/keys/%u; "}, "looks for keys in /etc/keys/%u"),
        ({"sshd_rules": "allowusers pi; allowusers root; "}, "lets in only pi, root"),
    ],
)
def test_what_stands_in_the_way_is_named(
    topology: Topology, changed: dict[str, object], why: str
) -> None:
    assert why in (hindered(topology, **changed) or "")


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("", None),
        ("allowusers debian; allowusers kome;", None),
        ("allowusers ko*@192.168.86.*;", None),
        ("allowusers debian;", "AllowUsers"),
        ("denyusers kome;", "DenyUsers"),
        ("denyusers other;", None),
        ("allowgroups ssh-users;", "AllowGroups"),
        ("pubkeyauthentication no;", "PubkeyAuthentication"),
    ],
)
def test_sshd_rules_that_would_shut_the_user_out(rules: str, why: str | None) -> None:
    found = shut_out("kome", rules)
    assert found is None if why is None else why in (found or "")


# ---------------------------------------------------------------- keys


def target(*identities: Path, only: bool = True) -> SshTarget:
    return SshTarget("127.0.0.1", 22, "kome", 5.0, identities, only)


def test_the_keys_that_will_be_offered_are_let_in(tmp_path: Path) -> None:
    named, locked = keygen(tmp_path / "named"), keygen(tmp_path / "locked", passphrase="secret")
    keygen(tmp_path / "other")
    (tmp_path / "locked.pub").unlink()  # stands in the private file as well, in the clear
    missing = tmp_path / "missing"
    found = of_operator(target(named, locked, missing, named))
    assert [key.where.rpartition("/")[2] for key in found] == ["named", "locked"]
    public = (tmp_path / "named.pub").read_text().split()
    assert found[0].line == f"{public[0]} {public[1]} kome-tui"
    assert fingerprint(public_blob(named) or b"") in str(found[0])


def test_without_any_key_there_is_none(tmp_path: Path) -> None:
    assert of_operator(target(tmp_path / "missing")) == ()


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    for text in ("", "nonsense", "ssh-ed25519 !!!!", "ssh-dss AAAAB3NzaC1kc3M=", "ssh-rsa AAAA"):
        file.write_text(text)
        with pytest.raises(UsageError):
            from_file(file)


# ---------------------------------------------------------------- what is sent


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_the_bootstrap_program(
    topology: Topology, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(bootstrap_script(topology, "kome"))
    # the parts that it shares with kome-node have more than it uses
    quiet = "SC2034,SC2317"
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-e", quiet, program], capture_output=True, text=True
    )
    assert done.stdout == ""


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_password_that_sudo_did_not_read_goes_nowhere(tmp_path: Path, shell: str) -> None:
    program = b'IFS= read -r header; echo "got $header"; cat\n'
    sent = b"the password\nkome-program %d\n%skome/1 look\npayload" % (len(program), program)
    words = [shell, "sh", "-c", _LOADER] if shell == "busybox" else [shell, "-c", _LOADER]
    if shell == "dash":
        loader = _LOADER.replace("/bin/sh", "dash")
        words = [shell, "-c", loader]
    done = subprocess.run(
        words,
        input=sent,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
    )
    assert done.stdout == b"got kome/1 look\npayload"
    assert done.stderr == b""


def test_every_host_file_is_one_that_the_node_takes(topology: Topology, tmp_path: Path) -> None:
    tmpfs = topology.cache.model_copy(update={"tmpfs": "128m"})
    for made in (topology, topology.model_copy(update={"cache": tmpfs})):
        for name in made.nodes:
            script = script_of(made, name)
            kinds = script.rpartition('\nmain "$@"')[0] + '\nhost_kind "$1" && echo "$kind"\n'
            program = tmp_path / "kinds"
            program.write_text(kinds)
            files = host_files(made, name)
            extra = (ports_in_use(made, name, [2222]), files.manifest)
            for file in (*files.files, *extra):
                done = subprocess.run(
                    ["sh", program, file.path], capture_output=True, text=True, check=False
                )
                assert re.fullmatch(r"[a-z]+\n", done.stdout), file.path
                assert file.mode in (0o440, 0o600, 0o644)
                assert file.owner == "root:root"


def test_the_same_lan_as_somebody_else(topology: Topology) -> None:
    other = as_user(topology, "debian")
    assert {other.ssh_of(name).user for name in other.nodes} == {"debian"}
    assert {topology.ssh_of(name).user for name in topology.nodes} == {"kome"}
    assert other.ssh_of("kome").connect_timeout == topology.ssh_of("kome").connect_timeout


def test_what_is_old_on_a_node_is_named(topology: Topology) -> None:
    def status(script: str | None, host: str | None) -> NodeStatus:
        return NodeStatus(
            live=None,
            running=None,
            previous=None,
            nginx="serving",
            drift=False,
            trial=None,
            last=None,
            nginx_version="1.22.1",
            script_version=1,
            kept=(),
            disk_free_bytes=None,
            inodes_free=None,
            script_digest=script,
            host_version=host,
        )

    script, host = script_digest(topology, "kome"), host_files(topology, "kome").version
    assert f"DIGEST={script}\n" in script_of(topology, "kome")
    assert outdated(topology, "kome", status(script, host)) is None
    assert (outdated(topology, "kome", status("0" * 12, host)) or "").startswith("kome-node not")
    old = outdated(topology, "kome", status(None, None)) or ""
    assert old.startswith("kome-node and host files not of this console and topology")
    assert "kome-tui rebuild kome" in old


# ---------------------------------------------------------------- what apt said

ANOTHER = "--- another attempt"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            [
                "E: Unable to locate package nginx",
                ANOTHER,
                "Err:1 http://deb.example bookworm InRelease",
                "  Temporary failure resolving 'deb.example'",
                "W: Failed to fetch http://deb.example/InRelease  Temporary failure resolving",
                "W: Some index files failed to download. They have been ignored, or old ones used.",
                "E: Unable to locate package nginx",
            ],
            "apt: Failed to fetch http://deb.example/InRelease Temporary failure resolving"
            "; a host without a way out gets .deb files by --packages DIR",
        ),
        (
            ["E: Unable to locate package nginx", ANOTHER, "E: Unable to locate package nginx"],
            "apt: its package sources do not have it;"
            " name a folder of .deb files by --packages DIR",
        ),
        (
            [
                "The following packages have unmet dependencies:",
                " nginx : Depends: nginx-common (>= 1.22) but it is not installable",
                "E: Unable to correct problems, you have held broken packages.",
            ],
            "apt: nginx : Depends: nginx-common (>= 1.22) but it is not installable",
        ),
        (
            [
                "W: Failed to fetch http://other.example/InRelease  Could not connect",
                "dpkg: error processing package nginx-common (--configure):",
                " installed nginx-common package post-installation script subprocess failed",
                "E: Sub-process /usr/bin/dpkg returned an error code (1)",
            ],
            "apt: dpkg: error processing package nginx-common (--configure): installed"
            " nginx-common package post-installation script subprocess failed",
        ),
        (
            ["E: Release file for http://deb.example/InRelease is not valid yet (for 3d 2h)."],
            "apt: Release file for http://deb.example/InRelease is not valid yet (for 3d 2h).",
        ),
        (
            ["dpkg: error: dpkg frontend lock was locked", ANOTHER, "Reading package lists..."],
            "apt gives no reason",
        ),
    ],
    ids=["no-way-out", "not-there", "unmet", "dpkg", "clock", "only-before"],
)
@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"]], ids=["dash", "busybox"])
def test_the_first_complaint_of_the_last_attempt_is_the_reason(
    topology: Topology, tmp_path: Path, shell: list[str], log: list[str], reason: str
) -> None:
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in log))
    done = in_program(topology, tmp_path, shell, f"apt_reason {tmp_path}/log")
    assert (done.stdout, done.stderr) == (reason + "\n", "")


@pytest.mark.parametrize(
    ("last", "kept"),
    [("002.deb", ["001.deb", "002.deb"]), ("none", [])],
    ids=["fewer-are-sent-now", "now-from-its-sources"],
)
def test_packages_of_an_earlier_run_are_not_used(
    topology: Topology, tmp_path: Path, last: str, kept: list[str]
) -> None:
    debs = tmp_path / "debs"
    debs.mkdir()
    for number in (1, 2, 3, 4):
        (debs / f"00{number}.deb").touch()
    done = in_program(topology, tmp_path, ["dash"], f"DEBS={debs}; only_sent {last}")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(file.name for file in debs.glob("*")) == kept


def in_program(
    topology: Topology, folder: Path, shell: list[str], line: str
) -> "subprocess.CompletedProcess[str]":
    """Run a line of shell with the functions of the bootstrap program."""
    program = bootstrap_script(topology, "kome").rpartition("\nbootstrap\n")[0]
    file = folder / "program"
    file.write_text(program.replace('rm -f "$0"', ":") + f"\n{line}\n")
    return subprocess.run([*shell, file], capture_output=True, text=True)


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "NODE"),
        (("kome",), 3, "add --yes"),
        (("nobody", "--yes"), 2, "no node is called 'nobody'"),
        (("kome", "--yes", "--bootstrap-user", "a b"), 2, "is no user name"),
        (("kome", "--yes", "--packages", "nowhere"), 2, "no .deb files in nowhere"),
        (("kome", "--yes", "--key", "nowhere"), 2, "no public key"),
    ],
)
def test_a_wrong_call_says_so_and_reaches_nobody(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = kome_tui("-t", packaged_file("topology.yaml"), "rebuild", *arguments, cwd=tmp_path)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_read_only_refuses_both(tmp_path: Path) -> None:
    options = ("-t", packaged_file("topology.yaml"), "--read-only")
    for command in (("rebuild", "kome", "--yes"), ("purge", "kome", "--yes")):
        ran = kome_tui(*options, *command, cwd=tmp_path)
        assert ran.code == 3
        assert "--read-only" in ran.err
