"""rebuild by apt from a host's own package sources, on real Debian machines: what goes, what fails.

The sources are one small repository on the operator's host; every machine says in its sources.list
where it looks. Also what an earlier owner of the host may have left in the way.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from tests.command_line import Ran
from tests.contract import PushAnswer
from tests.machines.image import Image
from tests.machines.lan import OPERATOR, Lan
from tests.machines.machine import Machine, MachineSpec
from tests.waiting import wait_until

PORT = 8081
BARE = MachineSpec("bare", kome=False)
SERVING = MachineSpec("serving", kome=False)
MACHINES = {
    **dict.fromkeys(("kome", "node-03", "node-04", "node-05"), BARE),
    **dict.fromkeys(("node-06", "node-07", "node-08"), SERVING),
}
CONF = "/etc/nginx/nginx.conf"
POLICY = "/usr/sbin/policy-rc.d"
HALF = "half"
"""The repository that names nginx and has lost the file."""
CLOSED = """
table inet own {
    chain input {
        type filter hook input priority 0;
        iif != lo tcp dport 80 reject with tcp reset
    }
}
"""


@pytest.fixture(scope="module")
def lan(machines: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """Machines without any package lists, and the repository they can reach."""
    folder = tmp_path_factory.mktemp("sources")
    repository(machines.packages, folder / "web" / "whole")
    repository(machines.packages, folder / "web" / HALF)
    for file in (folder / "web" / HALF).glob("nginx_*.deb"):
        file.unlink()
    with Lan(machines, folder / "lan", MACHINES, specs=MACHINES) as made, web(made, folder / "web"):
        yield made


def repository(packages: Path, folder: Path) -> None:
    """Debian's flat form: the files, and what each says of itself in one index."""
    folder.mkdir(parents=True)
    index = []
    for number, file in enumerate(sorted(packages.glob("*.deb"))):
        copy = folder / f"{file.name.partition('_')[0]}_{number}.deb"
        shutil.copyfile(file, copy)
        told = subprocess.run(["dpkg-deb", "-f", file], capture_output=True, text=True, check=True)
        content = copy.read_bytes()
        place = f"Filename: ./{copy.name}\nSize: {len(content)}\n"
        index.append(f"{told.stdout}{place}SHA256: {sha256(content).hexdigest()}\n\n")
    assert index
    (folder / "Packages").write_text("".join(index))


@contextmanager
def web(lan: Lan, folder: Path) -> Iterator[None]:
    """A web server on the operator's host."""
    command = ["-m", "http.server", str(PORT), "--bind", OPERATOR, "--directory", str(folder)]
    with (lan.folder / "web.log").open("wb") as log:
        server = subprocess.Popen(
            lan.operator.inside([sys.executable, *command]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            wait_until(lambda: lan.operator.http(OPERATOR, "/", PORT).code == 0, 30)
            yield
        finally:
            server.kill()
            server.wait(30)


def looks_at(machine: Machine, place: str) -> None:
    """Its only source of packages."""
    machine.write_file("/etc/apt/sources.list", f"deb [trusted=yes] {place} ./\n")


def whole(folder: str = "whole") -> str:
    return f"http://{OPERATOR}:{PORT}/{folder}"


def words(*names: str) -> list[str]:
    return ["rebuild", *names, "--bootstrap-user", "debian", "--yes", "--json"]


def outcomes(ran: Ran) -> dict[str, str]:
    nodes = PushAnswer.model_validate_json(ran.out).nodes
    return {name: node.outcome for name, node in nodes.items()}


def serves(lan: Lan, name: str) -> bool:
    return "200 OK" in lan.operator.http(lan.address(name), "/.kome/health").out


@pytest.fixture(scope="module")
def first(lan: Lan) -> Ran:
    """One rebuild of all of them, each with its own trouble."""
    looks_at(lan["kome"], whole())
    lan["kome"].write_file("/var/cache/kome-debs/001.deb", "of an earlier run")
    looks_at(lan["node-03"], "http://192.0.2.1")  # no machine here has a way out
    looks_at(lan["node-04"], whole(HALF))
    left_by_a_power_cut(lan, lan["node-05"])
    left_by_a_later_power_cut(lan["node-06"])
    lan["node-06"].run("systemctl disable nginx && sed -i '/^Include/d' /etc/ssh/sshd_config")
    lan["node-06"].run("nft -f -", stdin=CLOSED)
    lan["node-07"].run("useradd --create-home --shell /usr/sbin/nologin kome")
    lan["node-08"].run("systemctl stop nginx && sed -i s,/run/nginx.pid,/run/other.pid, " + CONF)
    lan["node-08"].run("systemd-run --unit=container nginx -g 'daemon off;'")
    wait_until(lambda: ":0050 " in lan["node-08"].run("cat /proc/net/tcp").out, 30)
    return lan.operator.kome_tui(*words(*MACHINES), limit_s=240)


def left_by_a_power_cut(lan: Lan, machine: Machine) -> None:
    """dpkg's state between unpacking and setting up."""
    machine.run("mkdir /root/debs")
    for file in lan.image.packages.glob("*.deb"):
        if file.name.startswith(("nginx_", "nginx-common_")):
            machine.run(
                f"cat >/root/debs/{file.name.partition('_')[0]}.deb", stdin=file.read_bytes()
            )
    machine.run("dpkg --unpack /root/debs/*.deb")
    assert machine.run("ls /etc/nginx/nginx.conf", check=False).code != 0


def left_by_a_later_power_cut(machine: Machine) -> None:
    """The packages are all there, and so is still what held their services back."""
    mark = "# kome-tui rebuild: packages start nothing while they are installed"
    machine.write_file(POLICY, f"#!/bin/sh\n{mark}\nexit 101\n", 0o755)


def test_packages_come_from_the_hosts_own_sources(lan: Lan, first: Ran) -> None:
    assert outcomes(first)["kome"] == "committed", first.err
    assert f"1/4 packages: Get:1 {whole()} ./ nginx-common" in first.err
    assert serves(lan, "kome")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("node-03", ["Failed to fetch http://192.0.2.1/./Packages", "Network is unreachable"]),
        ("node-04", [f"Failed to fetch {whole(HALF)}/./nginx_", "404"]),
    ],
    ids=["no-route", "file-gone"],
)
def test_why_apt_did_not_manage_is_one_line(first: Ran, name: str, told: list[str]) -> None:
    node = PushAnswer.model_validate_json(first.out).nodes[name]
    assert node.outcome == "refused"
    assert node.reason is not None
    assert node.reason.startswith(f"{name}: packages refused: apt: {told[0]}")
    assert told[1] in node.reason
    assert node.reason.endswith("gets .deb files by --packages DIR; lacking: nginx")
    assert "\n" not in node.reason


def test_packages_that_a_power_cut_left_unpacked_are_set_up(lan: Lan, first: Ran) -> None:
    assert outcomes(first)["node-05"] == "committed", first.err
    assert serves(lan, "node-05")
    assert lan["node-05"].run("dpkg --audit").out == ""
    for name in ("node-05", "node-06"):
        assert lan[name].run(f"ls {POLICY}", check=False).code != 0


def test_nginx_that_was_switched_off_will_start_at_the_next_boot(lan: Lan, first: Ran) -> None:
    assert outcomes(first)["node-06"] == "committed", first.err
    assert lan["node-06"].run("systemctl is-enabled nginx").out == "enabled\n"
    assert first.err.count("note: nginx was not started at boot there") == 1


def test_an_sshd_that_does_not_read_our_rule_is_named(first: Ran) -> None:
    named = [line for line in first.err.splitlines() if "its sshd does not read" in line]
    assert len(named) == 1
    assert named[0].startswith("node-06")


def test_a_port_that_the_hosts_own_firewall_closes_is_named(first: Ran) -> None:
    named = [line for line in first.err.splitlines() if "has it a firewall of its own?" in line]
    assert len(named) == 1
    assert named[0].startswith("node-06")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("node-07", "kome cannot log in with the shell /usr/sbin/nologin: usermod -s /bin/sh kome"),
        ("node-08", "port 80 is held by an nginx that /run/nginx.pid does not name"),
    ],
    ids=["shell", "other-nginx"],
)
def test_what_stands_in_the_way_is_refused(first: Ran, name: str, told: str) -> None:
    node = PushAnswer.model_validate_json(first.out).nodes[name]
    assert node.outcome == "refused"
    assert told in (node.reason or "")


def test_an_earlier_account_is_taken_over_once_sshd_would_read_its_keys(
    lan: Lan, first: Ran
) -> None:
    assert outcomes(first)["node-07"] == "refused"
    earlier = lan["node-07"]
    earlier.run("usermod --shell /bin/bash kome && chown 4242 /home/kome")
    refused = lan.operator.kome_tui(*words("node-07"))
    assert "/home/kome belongs to somebody else" in refused.out
    earlier.run("chown kome /home/kome && install -d -o kome -m 700 /home/kome/.ssh")
    public = (lan.folder / "operator.pub").read_text()
    old_keys = "".join(f"# {line}" for line in public.splitlines(keepends=True))
    earlier.write_file("/home/kome/.ssh/authorized_keys", old_keys, 0o600, "kome:kome")
    taken = lan.operator.kome_tui(*words("node-07"))
    assert outcomes(taken) == {"node-07": "committed"}, taken.err
    assert earlier.read_file("/home/kome/.ssh/authorized_keys").startswith(old_keys)
    assert "/bin/bash" in earlier.run("getent passwd kome").out


def test_an_interrupted_wait_for_another_apt_is_gone_on_with(lan: Lan, first: Ran) -> None:
    """The operator is told who is waited for, and may leave; apt ends its work all the same."""
    assert outcomes(first)["node-03"] == "refused"
    for name in ("node-03", "node-04"):
        looks_at(lan[name], whole())
    hold = "touch /run/held; until [ -e /run/go ]; do sleep 0.1; done"
    held = lan["node-03"]
    held.run(["systemd-run", "apt-get", "update", "-o", f"APT::Update::Pre-Invoke::={hold}"])
    wait_until(lambda: held.run("ls /run/held", check=False).code == 0, 30)
    stopped = interrupted_at(lan, "waiting for another apt to end: held by process", "node-03")
    node = PushAnswer.model_validate_json(stopped.out).nodes["node-03"]
    assert (stopped.code, node.outcome) == (1, "untouched"), stopped.err
    assert "apt goes on there" in (node.reason or "")

    held.run("touch /run/go")
    wait_until(lambda: held.run("dpkg -s nginx | grep 'ok installed'", check=False).code == 0, 60)
    again = lan.operator.kome_tui(*words("node-03", "node-04"), limit_s=240)
    assert outcomes(again) == {"node-03": "committed", "node-04": "committed"}, again.err
    assert serves(lan, "node-03")
    assert held.run(f"ls {POLICY}", check=False).code != 0


def interrupted_at(lan: Lan, line: str, *names: str) -> Ran:
    """Rebuild, with a Ctrl-C once `line` has been said."""
    said = ""
    with lan.operator.start_kome_tui(*words(*names)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for row in process.stderr:
            said += row
            if line in row:
                process.send_signal(signal.SIGINT)
        out = process.stdout.read()
    return Ran(process.returncode, out, said)
