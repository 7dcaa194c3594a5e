"""rebuild on real Debian machines: bare, adopted, refused, cut short, locked out."""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kome_tui.nginx.host import host_files
from tests.command_line import Ran
from tests.contract import PushAnswer, StatusAnswer
from tests.machines.image import Image
from tests.machines.lan import Lan
from tests.machines.machine import SUDO_PASSWORD, MachineSpec
from tests.waiting import wait_until

BARE = MachineSpec("bare", kome=False)
ASKS = MachineSpec("bare", kome=False, sudo_password=True)
FOREIGN = MachineSpec("serving", kome=False)
LIMIT_S = 15 * 60
"""The mission's limit for a rebuild."""
WRONG_PASSWORD = "not-the-password"


@pytest.fixture
def lan(machines: Image, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lan]:
    """Machines by name and what each starts from; two bare ones where a test does not say."""
    specs: dict[str, MachineSpec] = getattr(request, "param", {"kome": BARE, "node-03": BARE})
    with Lan(machines, tmp_path / "lan", specs, specs=specs) as made:
        yield made


def rebuild(lan: Lan, *names: str, user: str = "debian", limit_s: float = 240) -> Ran:
    """Rebuild as an operator's script does: no questions, .deb files from the laptop."""
    return lan.operator.kome_tui(*words(lan, *names, user=user), "--yes", "--json", limit_s=limit_s)


def words(lan: Lan, *names: str, user: str = "debian") -> list[str]:
    packages = str(lan.image.packages)
    return ["rebuild", *names, "--bootstrap-user", user, "--packages", packages]


def outcomes(ran: Ran) -> dict[str, str]:
    nodes = PushAnswer.model_validate_json(ran.out).nodes
    return {name: node.outcome for name, node in nodes.items()}


def reason(ran: Ran, name: str) -> str:
    return PushAnswer.model_validate_json(ran.out).nodes[name].reason or ""


def page(lan: Lan, name: str, path: str = "/.kome/release") -> str:
    return lan.operator.http(lan.address(name), path).out


def serves_its_release(lan: Lan, name: str) -> bool:
    live = lan[name].run("readlink /etc/kome/current").out.strip().removeprefix("releases/")
    return live in page(lan, name)


def with_fleet(lan: Lan, name: str, program: str) -> Ran:
    """A few lines of Python on the operator's laptop, with the fleet opened."""
    head = (
        "import sys; from pathlib import Path; from kome_tui.topology.load import load\n"
        "from kome_tui.fleet.fleet import Fleet; from kome_tui.nginx.host import host_files\n"
        "from kome_tui.fleet.node_admin import Upload\n"
        "topology = load(Path(sys.argv[1])); name = sys.argv[3]\n"
        "fleet = Fleet(topology, Path(sys.argv[2]))\n"
    )
    operator = lan.operator
    config = (operator.topology, operator.ssh_config, name)
    return operator.run(sys.executable, "-c", head + program, *map(str, config))


# ---------------------------------------------------------------- from bare to serving


@pytest.mark.parametrize(
    "lan",
    [dict.fromkeys(("kome", *(f"node-{number:02d}" for number in range(1, 11))), BARE)],
    indirect=True,
    ids=["all"],
)
def test_eleven_bare_hosts_become_serving_nodes(lan: Lan) -> None:
    began = time.monotonic()
    ran = rebuild(lan, *lan.machines, limit_s=LIMIT_S)
    took_s = time.monotonic() - began
    assert ran.code == 0, ran.err
    report = PushAnswer.model_validate_json(ran.out)
    assert set(outcomes(ran).values()) == {"committed"}
    print(f"11 hosts rebuilt in {took_s:.1f} s")
    assert took_s < LIMIT_S / 2
    for name in lan.machines:
        assert serves_its_release(lan, name)
        assert report.nodes[name].release in page(lan, name)
    status = lan.operator.kome_tui("status", "--json")
    nodes = StatusAnswer.model_validate_json(status.out).nodes
    assert {(node.ssh, node.nginx) for node in nodes.values()} == {("ok", "serving")}
    plan = lan.operator.kome_tui("plan")
    assert plan.code == 0, plan.out
    assert "rebuild" not in plan.out


def test_what_was_set_up_is_there_after_a_boot(lan: Lan) -> None:
    assert rebuild(lan, "kome", "node-03").code == 0
    machine = lan["node-03"]
    machine.restart()
    wait_until(lambda: serves_its_release(lan, "node-03"), 30)
    assert "tcp dport @tcp_ports accept" in machine.run("nft list table inet kome").out
    for unit in ("kome-recover.service", "kome-firewall.service", "kome-logs.timer", "nginx"):
        assert machine.run(f"systemctl is-active {unit}").out.strip() == "active"
    assert machine.run("logrotate -d /etc/logrotate.conf", check=False).code == 0
    rights = machine.run("stat -c '%U:%G %a' /usr/local/sbin/kome-node /etc/sudoers.d/kome").out
    assert rights.split("\n")[:2] == ["root:root 755", "root:root 440"]
    assert machine.run("ls /usr/sbin/policy-rc.d /var/cache/kome-debs", check=False).code != 0
    allowed = lan.operator.ssh(
        lan.address("node-03"), "sudo -n /usr/local/sbin/kome-node", typed=""
    )
    assert "no header line" in allowed.out
    for command in ("sudo -n id", "sudo -n /usr/local/sbin/kome-node guard x", "sudo -n /bin/sh"):
        assert lan.operator.ssh(lan.address("node-03"), command).code != 0

    machine.write_file("/etc/sudoers.d/wide", "kome ALL=(root) NOPASSWD: /usr/bin/tee\n", 0o440)
    again = rebuild(lan, "kome", "node-03")
    assert (again.code, set(outcomes(again).values())) == (0, {"unchanged"})
    assert "kome may also run as root there: (root) NOPASSWD: /usr/bin/tee" in again.err
    plain = lan.operator.kome_tui("rebuild", "kome", "node-03", "--yes", "--json")
    assert (plain.code, set(outcomes(plain).values())) == (0, {"unchanged"})


def test_an_old_script_is_named_by_plan_and_renewed_without_the_bootstrap_user(lan: Lan) -> None:
    assert rebuild(lan, "kome", "node-03").code == 0
    script = "/usr/local/sbin/kome-node"
    lan["node-03"].run(f"sed -i 's/^DIGEST=.*/DIGEST=0123456789ab/' {script}")
    lan["node-03"].run("sed -i s/daily/weekly/ /etc/logrotate.d/nginx")
    lan["node-03"].run("sed -i '1s/ [0-9a-f]*$/ 0123456789ab/' /etc/kome/host-files")
    plan = lan.operator.kome_tui("plan", "node-03")
    assert "kome-node and host files not of this console and topology" in plan.out
    deployed = lan.operator.kome_tui("deploy", "node-03")
    assert "its kome-node is old: " in deployed.err
    assert "rebuild node-03" in deployed.err
    ran = lan.operator.kome_tui("rebuild", "node-03", "--yes", "--json")
    assert (ran.code, outcomes(ran)) == (0, {"node-03": "unchanged"})
    assert "rebuild" not in lan.operator.kome_tui("plan", "node-03").out
    assert "daily" in lan["node-03"].read_file("/etc/logrotate.d/nginx")


def test_a_cache_in_memory_comes_and_goes_with_the_topology(lan: Lan) -> None:
    shipped = lan.operator.topology
    in_memory = lan.folder / "topology.yaml"
    text = shipped.read_text()
    changed = text.replace("tmpfs: none", "tmpfs: 64m", 1).replace("  size: 1g", "  size: 32m", 1)
    in_memory.write_text(changed)
    lan.operator.topology = in_memory
    assert rebuild(lan, "node-03").code == 0
    cache = "findmnt -n -o FSTYPE,SIZE /var/cache/nginx/kome"
    assert lan["node-03"].run(cache).out.split() == ["tmpfs", "64M"]
    lan["node-03"].restart()
    assert lan["node-03"].run(cache).out.split() == ["tmpfs", "64M"]
    wait_until(lambda: serves_its_release(lan, "node-03"), 30)

    lan.operator.topology = shipped
    assert lan.operator.kome_tui("rebuild", "node-03", "--yes").code == 0
    lan["node-03"].restart()
    assert lan["node-03"].run(cache, check=False).code != 0
    wait_until(lambda: serves_its_release(lan, "node-03"), 30)


# ---------------------------------------------------------------- hosts that serve something else


@pytest.mark.parametrize("lan", [{"kome": FOREIGN, "node-03": BARE}], indirect=True, ids=["one"])
def test_a_host_that_serves_something_else_is_adopted(lan: Lan) -> None:
    wait_until(lambda: "Welcome to nginx" in page(lan, "kome", "/"))
    before = page(lan, "kome", "/").partition("\r\n\r\n")[2]
    tree = "cd /etc/nginx && find . ! -name nginx.conf -type f -exec sha256sum {} + | sort"
    files = lan["kome"].run(tree).out
    ran = rebuild(lan, "kome", "node-03")
    assert (ran.code, outcomes(ran)) == (0, {"kome": "committed", "node-03": "committed"}), ran.err
    assert "port 80 serves something of its own (HTTP/1.1 200 OK" in ran.err
    assert "the way back is proved: it answers as before" in ran.err
    assert serves_its_release(lan, "kome")
    kept = lan["kome"].run(tree.replace("/etc/nginx", "/etc/kome/releases/original")).out
    assert [line for line in kept.splitlines() if not line.endswith(".kome")] == files.splitlines()

    back = lan.operator.kome_tui("rollback", "kome", "--to", "original", "--yes", "--json")
    assert (back.code, outcomes(back)) == (0, {"kome": "committed"}), back.err
    assert page(lan, "kome", "/").partition("\r\n\r\n")[2] == before


@pytest.mark.parametrize("lan", [{"kome": FOREIGN}], indirect=True, ids=["one"])
def test_without_a_yes_nothing_is_changed(lan: Lan) -> None:
    refused = lan.operator.kome_tui(*words(lan, "kome"))
    assert (refused.code, refused.out) == (3, "")
    assert "add --yes" in refused.err
    asked = typed(lan, words(lan, "kome"), [("serve what the topology says", "n")])
    assert asked.code == 3
    assert "what kome serves now is kept as `original`" in asked.out
    assert lan["kome"].run("ls /etc/kome /usr/local/sbin/kome-node", check=False).code != 0
    assert "Welcome to nginx" in page(lan, "kome", "/")


def test_a_port_held_by_something_else_is_named_and_refused(lan: Lan) -> None:
    lan["kome"].run("systemd-run --unit=other systemd-socket-activate --listen=80 /bin/cat")
    wait_until(lambda: ":0050 " in lan["kome"].run("cat /proc/net/tcp /proc/net/tcp6").out)
    ran = rebuild(lan, "kome")
    assert (ran.code, outcomes(ran)) == (3, {"kome": "refused"})
    assert reason(ran, "kome").startswith("port 80 is held by systemd-socket")
    assert lan["kome"].run("id kome", check=False).code != 0


def test_hosts_that_fail_do_not_stop_the_others(lan: Lan) -> None:
    lan["kome"].run("echo 'AllowUsers debian' >/etc/ssh/sshd_config.d/site.conf")
    ran = rebuild(lan, "kome", "node-03", "node-04")
    assert outcomes(ran) == {"kome": "refused", "node-03": "committed", "node-04": "unreachable"}
    assert ran.code == 1
    assert "lets in only debian (AllowUsers): add kome there" in reason(ran, "kome")


def test_an_unknown_or_changed_host_key_stops_before_anything(lan: Lan) -> None:
    lan["kome"].change_host_key()
    ran = rebuild(lan, "kome")
    assert outcomes(ran) == {"kome": "unreachable"}
    assert "host key has changed" in reason(ran, "kome")
    lan.operator.know({})
    told = reason(rebuild(lan, "kome"), "kome")
    assert "kome-tui" in told
    assert "trust kome" in told
    assert lan["kome"].run("id kome", check=False).code != 0


KEY_CHANGED_MEANWHILE = """
from kome_tui.errors import HostKeyChanged
from kome_tui.release.rebuild import as_user
theirs = as_user(topology, "debian")
warm = Fleet(theirs, Path(sys.argv[2]))
host = warm.bootstrap(name)
print(host.find_sudo())
key = "/etc/ssh/ssh_host_ed25519_key"
anew = f"rm {key} {key}.pub && ssh-keygen -q -t ed25519 -N '' -f {key} && systemctl restart ssh"
print(host._connect().run(f'sudo sh -c "{anew}"', timeout_s=30).exit_status)
print(host.find_sudo())
try:
    Fleet(theirs, Path(sys.argv[2])).connect(name)
except HostKeyChanged:
    print("changed")
"""


def test_a_key_that_changes_under_an_open_connection_stops_the_next_login(lan: Lan) -> None:
    ran = with_fleet(lan, "node-03", KEY_CHANGED_MEANWHILE)
    assert ran.out.split() == ["free", "0", "free", "changed"], ran.err


# ---------------------------------------------------------------- the password of sudo


@contextmanager
def terminal(command: list[str], folder: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A command that has a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        yield ours, process
    finally:
        process.kill()
        process.wait(30)
        os.close(ours)


def typed(lan: Lan, arguments: list[str], answers: list[tuple[str, str]]) -> Ran:
    """Run kome-tui on a terminal; type each answer when its question has come."""
    said = ""
    with terminal(lan.operator.kome_tui_command(*arguments), lan.folder) as (ours, process):
        waiting = list(answers)
        asked_from = 0
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end has closed it
                break
            if not part:
                break
            said += part.decode(errors="replace")
            if waiting and waiting[0][0] in said[asked_from:]:
                asked_from = len(said)
                os.write(ours, waiting.pop(0)[1].encode() + b"\n")
        code = process.wait(60)
    return Ran(code, said, "")


@pytest.mark.parametrize("lan", [{"kome": ASKS, "node-03": ASKS}], indirect=True, ids=["asks"])
def test_a_sudo_password_is_typed_once_and_kept_nowhere(lan: Lan) -> None:
    refused = rebuild(lan, "kome", "node-03")
    assert refused.code == 3
    assert "sudo wants a password, and nobody is here to type it" in refused.err

    question = "sudo password of debian on kome, node-03:"
    answers = [(question, WRONG_PASSWORD), (question, SUDO_PASSWORD)]
    ran = typed(lan, [*words(lan, "kome", "node-03"), "--yes"], answers)
    assert ran.code == 0, ran.out
    assert serves_its_release(lan, "kome")
    assert serves_its_release(lan, "node-03")
    for secret in (SUDO_PASSWORD, WRONG_PASSWORD):
        assert secret not in ran.out
        assert secret not in lan["kome"].run("journalctl --no-pager").out
        where = "/etc/kome /run /var/log /tmp /home /root /usr/local"
        found = lan["kome"].run(f"grep -rlsI -e {secret} {where}", check=False)
        assert found.out == ""


@pytest.mark.parametrize("lan", [{"kome": ASKS}], indirect=True, ids=["asks"])
def test_three_wrong_passwords_are_enough_and_one_where_none_would_help(lan: Lan) -> None:
    question = "sudo password of debian on kome:"
    ran = typed(lan, [*words(lan, "kome"), "--yes"], [(question, WRONG_PASSWORD)] * 3)
    assert ran.code == 3
    assert ran.out.count(question) == 3
    assert ran.out.count("kome: sudo does not take this password\r\n" + question) == 2

    lan["kome"].run("gpasswd --delete debian sudo")
    ran = typed(lan, [*words(lan, "kome"), "--yes"], [(question, SUDO_PASSWORD)] * 3)
    assert ran.code == 3
    assert ran.out.count(question) == 1
    assert "sudo gives no root: debian is not in the sudoers file" in ran.out
    assert lan["kome"].run("id kome", check=False).code != 0


# ---------------------------------------------------------------- cut short, locked out


def killed(lan: Lan, after: str, *names: str) -> str:
    """A rebuild, killed once it has said `after`; what it said until then."""
    command = lan.operator.kome_tui_command(*words(lan, *names), "--yes")
    said = ""
    with subprocess.Popen(
        command, cwd=lan.folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if after in line:
                break
        process.kill()
    return said


def test_a_run_that_is_killed_at_any_step_is_finished_by_the_next(lan: Lan) -> None:
    steps = ("Unpacking nginx", "2/4 user", "3/4 script", "4/4 host files", "proving from outside")
    for step in steps:
        assert step in killed(lan, step, "kome", "node-03")
    # A trial that the killed run has left goes back within 30 s, and keeps others out until then.
    free = (
        "! ls -d /etc/kome/journal /etc/kome/host.trial 2>/dev/null && flock -n /run/kome/lock true"
    )
    for machine in lan.machines.values():
        wait_until(lambda machine=machine: machine.run(free, check=False).code == 0, 60)
    ran = rebuild(lan, "kome", "node-03")
    assert ran.code == 0, ran.err
    assert serves_its_release(lan, "kome")
    assert serves_its_release(lan, "node-03")
    assert lan["kome"].run("ls /usr/sbin/policy-rc.d", check=False).code != 0
    assert lan["kome"].run("dpkg --audit").out == ""


LOCK_OUT = """
files = host_files(topology, name)
uploads = []
for file in (*files.files, files.manifest):
    text = file.text
    if file.path.endswith("firewall.nft"):
        text = text.replace("22, 80", "80")
        assert text != file.text
    uploads.append(Upload(file.path, file.mode, text.encode()))
change = fleet.admin(name).host("0123456789ab", tuple(uploads), "locked-out", 5)
print(change.on_trial)
try:
    print(fleet.admin(name).confirm("locked-out").decision)
except Exception as error:
    print(error)
"""


def test_a_firewall_that_locks_the_operator_out_goes_back_by_itself(lan: Lan) -> None:
    assert rebuild(lan, "node-03").code == 0
    ran = with_fleet(lan, "node-03", LOCK_OUT)
    on_trial, refused = ran.out.splitlines()
    assert on_trial == "True"
    assert "confirm over a new one" in refused  # the connection from before proves nothing
    wait_until(lambda: not port_answers(lan, "node-03", 22), 5)
    wait_until(lambda: port_answers(lan, "node-03", 22), 30)
    assert "22, 80" in lan["node-03"].run("nft list table inet kome").out
    status = with_fleet(lan, "node-03", "print(fleet.node(name).status())")
    assert host_version(lan, "node-03") in status.out


def test_a_power_cut_during_a_trial_of_the_host_is_undone_at_boot(lan: Lan) -> None:
    assert rebuild(lan, "node-03").code == 0
    begun = LOCK_OUT.partition("print(change.on_trial)")[0].replace('"locked-out", 5', '"cut", 600')
    assert with_fleet(lan, "node-03", f"{begun}print(change.on_trial)").out == "True\n"
    assert not port_answers(lan, "node-03", 22)
    lan["node-03"].reboot()
    wait_until(lambda: port_answers(lan, "node-03", 22), 30)
    status = with_fleet(lan, "node-03", "print(fleet.node(name).status())")
    assert host_version(lan, "node-03") in status.out
    assert "22, 80" in lan["node-03"].run("nft list table inet kome").out
    assert lan["node-03"].run("systemctl is-active kome-recover").out.strip() == "active"


def port_answers(lan: Lan, name: str, port: int) -> bool:
    check = f"exec 3<>/dev/tcp/{lan.address(name)}/{port}"
    return lan.operator.run("timeout", "1", "bash", "-c", check).code == 0


def host_version(lan: Lan, name: str) -> str:
    return host_files(lan.topology, name).version


PURGED = """
print(fleet.admin(name).reach(topology.upstreams.okome, 2).result)
print(fleet.admin(name).reach(topology.upstreams.redis, 2).result)
print(fleet.admin(name).gc())
"""


def test_the_other_verbs_work_on_a_real_node(lan: Lan) -> None:
    assert rebuild(lan, "kome").code == 0
    lan.operator.http(lan.address("kome"), "/assets/app.js")
    cached = "find /var/cache/nginx/kome -type f | wc -l"
    purged = lan.operator.kome_tui("purge", "kome", "--yes")
    assert (purged.code, lan["kome"].run(cached).out.strip()) == (0, "0")
    assert lan.operator.kome_tui("purge", "kome").code == 3

    lan.service("redis").stop()
    answers = with_fleet(lan, "kome", PURGED).out.split()
    assert answers == ["ok", "refused", "0"]

    lan["kome"].run("systemctl stop nginx")
    started = with_fleet(lan, "kome", "fleet.admin(name).start_nginx()")
    assert (started.code, serves_its_release(lan, "kome")) == (0, True)
    assert "nginx.service" in lan["kome"].run("cat /proc/$(cat /run/nginx.pid)/cgroup").out
