"""The LAN of real machines itself: what later tests rely on when they cut, kill, freeze and fill.

Each fault is shown to be there, and to be gone again. Nothing here sends a packet to this
computer's own network: that there is no way there is read from its routes.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.contract import StatusAnswer
from tests.machines.cgroups import run_group, writable_roots
from tests.machines.disk import DiskSpec
from tests.machines.image import CHECKOUT, Image
from tests.machines.lan import Lan
from tests.machines.machine import BARE, SUDO_PASSWORD, Machine
from tests.waiting import wait_until

OUTSIDE = "198.51.100.7"  # RFC 5737: nobody's


def greeting(lan: Lan, name: str, *, from_: str = "operator", within_s: int = 10) -> str:
    """The first line of a machine's sshd, as a host of the LAN gets it; empty for none."""
    script = 'exec 3<>"/dev/tcp/$1/22" && IFS= read -r line <&3 && printf %s "$line"'
    asked = ["timeout", str(within_s), "bash", "-c", script, "ask", lan.address(name)]
    if from_ == "operator":
        return lan.operator.run(*asked).out
    return lan[from_].run(asked, check=False).out


def is_silent(lan: Lan, name: str, *, from_: str = "operator") -> bool:
    """Whether nothing is heard of a machine's sshd for a second."""
    return greeting(lan, name, from_=from_, within_s=1) == ""


def health(lan: Lan) -> dict[str, str]:
    """OKOME's own words on itself and what it needs."""
    ran = lan.operator.http(lan.address("okome"), "/health", 8000)
    told = json.loads(ran.out.split("\n\n", 1)[1])
    parts = {name: part["status"] for name, part in told["components"].items()}
    return {"okome": told["status"], **parts}


def test_every_machine_is_debian_with_systemd_sshd_and_sudo(bare_lan: Lan) -> None:
    def look(machine: Machine) -> None:
        ran = machine.run(
            ". /etc/os-release; echo $ID $VERSION_ID; hostname; cat /proc/1/comm; "
            "systemctl is-active ssh; systemctl is-system-running; sudo -u debian sudo -n id -u"
        )
        assert ran.out.split("\n")[:-1] == [
            *("debian 12", machine.name, "systemd", "active", "running", "0")
        ]

    bare_lan.each(look)
    assert len(bare_lan.machines) == 11


def test_the_operator_logs_in_to_every_machine_at_its_true_address(bare_lan: Lan) -> None:
    def log_in(machine: Machine) -> None:
        ran = bare_lan.operator.ssh(machine.address, "hostname; sudo -n true")
        assert ran.out == f"{machine.name}\n", ran.err
        assert "a password is required" in ran.err  # kome has no sudo before a node is set up

    bare_lan.each(log_in)
    first = bare_lan["kome"].address
    assert bare_lan.operator.ssh(first, "sudo -n id -u", user="debian").out == "0\n"
    assert bare_lan["kome"].address == "192.168.86.20"
    assert bare_lan["node-10"].address == "192.168.86.50"


def test_no_host_of_the_lan_reaches_anything_outside(bare_lan: Lan) -> None:
    dial = ["bash", "-c", f"exec 3<>/dev/tcp/{OUTSIDE}/80"]
    ran = bare_lan.operator.run(*dial)
    assert ran.code != 0
    assert "Network is unreachable" in ran.err
    told = bare_lan["node-05"].run(dial, check=False)
    assert told.code != 0
    assert "Network is unreachable" in told.err
    assert "default" not in bare_lan.operator.run("ip", "route").out


def test_this_computer_gets_no_route_to_the_lan_and_no_interface_of_it(
    machines: Image, tmp_path: Path
) -> None:
    def own_network() -> str:
        asked = (["ip", "-o", "link"], ["ip", "-o", "address"], ["ip", "route"])
        seen = [subprocess.run(ask, capture_output=True, text=True, check=True) for ask in asked]
        # Counters of address lifetimes go on meanwhile.
        return "\n".join(
            line.split(" valid_lft")[0] for done in seen for line in done.stdout.split("\n")
        )

    before = own_network()
    with Lan(machines, tmp_path, ()) as lan:
        assert lan.operator.http(lan.address("okome"), "/health", 8000).code == 0
        assert own_network() == before
    assert own_network() == before


def test_the_services_answer_at_their_true_addresses(bare_lan: Lan) -> None:
    operator, gpu = bare_lan.operator, bare_lan.address("gpu")
    assert health(bare_lan) == {"okome": "healthy", "redis": "up", "vllm": "up"}
    assert "kome-practice" in operator.http(gpu, "/v1/models", 8000).out
    assert "Ollama is running" in operator.http(gpu, "/", 11434).out
    assert "AVAILABLE" in operator.http(gpu, "/v1/models/kome-practice", 8501).out


def test_a_service_that_was_stopped_is_refused_and_comes_back(bare_lan: Lan) -> None:
    gpu, vllm = bare_lan.address("gpu"), bare_lan.service("vllm")
    vllm.stop()
    try:
        assert "Connection refused" in bare_lan.operator.http(gpu, "/health", 8000).err
        assert health(bare_lan) == {"okome": "degraded", "redis": "up", "vllm": "down"}
    finally:
        vllm.start()
    assert health(bare_lan)["okome"] == "healthy"


def test_a_partition_parts_two_hosts_and_nobody_else(bare_lan: Lan) -> None:
    bare_lan.partition("operator", "node-01")
    bare_lan.partition("okome", "redis")
    try:
        assert is_silent(bare_lan, "node-01")
        assert greeting(bare_lan, "node-01", from_="kome").startswith("SSH-2.0-")
        assert greeting(bare_lan, "node-02").startswith("SSH-2.0-")
        assert health(bare_lan) == {"okome": "degraded", "redis": "down", "vllm": "up"}
    finally:
        bare_lan.heal()
    assert greeting(bare_lan, "node-01").startswith("SSH-2.0-")
    assert health(bare_lan)["redis"] == "up"


def test_a_pulled_cable_takes_one_host_off_the_lan(bare_lan: Lan) -> None:
    bare_lan.unplug("node-02")
    try:
        assert is_silent(bare_lan, "node-02", from_="kome")
    finally:
        bare_lan.plug("node-02")
    wait_until(lambda: greeting(bare_lan, "node-02").startswith("SSH-2.0-"))


def test_a_killed_machine_is_gone_and_starts_again_from_its_disk(bare_lan: Lan) -> None:
    machine = bare_lan["node-03"]
    machine.write_file("/var/lib/kept/note", "written\n", 0o640, "kome:kome")
    booted = machine.run("cat /proc/sys/kernel/random/boot_id; stat -c %Z /proc/1").out
    machine.kill()
    assert not machine.is_on
    dial = f"exec 3<>/dev/tcp/{machine.address}/22"
    told = bare_lan.operator.run("timeout", "1", "bash", "-c", dial)
    assert told.code != 0
    assert "refused" not in told.err  # no kernel is there to refuse
    assert machine.read_file("/var/lib/kept/note") == "written\n"
    machine.write_file("/var/lib/kept/offline", "with the disk taken out\n")
    machine.boot()
    assert machine.run("cat /proc/sys/kernel/random/boot_id; stat -c %Z /proc/1").out != booted
    assert machine.run("stat -c '%a %U' /var/lib/kept/note").out == "640 kome\n"
    assert machine.read_file("/var/lib/kept/offline") == "with the disk taken out\n"
    assert bare_lan.operator.ssh(machine.address, "hostname").out == "node-03\n"


def test_a_machine_shuts_down_in_order_and_starts_again(bare_lan: Lan) -> None:
    machine = bare_lan["node-04"]
    stays = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n"
    unit = "/etc/systemd/system/witness.service"
    machine.write_file(unit, f"{stays}ExecStop=touch /var/stopped\n")
    machine.run("systemctl daemon-reload; systemctl start witness")
    machine.restart()
    machine.run("test -e /var/stopped")


def test_a_hung_machine_takes_connections_and_says_nothing(bare_lan: Lan) -> None:
    machine = bare_lan["node-05"]
    machine.freeze()
    try:
        connect = f"exec 3<>/dev/tcp/{machine.address}/22"
        assert bare_lan.operator.run("timeout", "5", "bash", "-c", connect).code == 0
        assert is_silent(bare_lan, "node-05")
    finally:
        machine.thaw()
    assert greeting(bare_lan, "node-05").startswith("SSH-2.0-")


def test_a_hung_machine_can_be_killed_and_started(bare_lan: Lan) -> None:
    machine = bare_lan["node-05"]
    machine.freeze()
    machine.reboot()
    assert greeting(bare_lan, "node-05").startswith("SSH-2.0-")


def test_a_full_disk_takes_nothing_more(bare_lan: Lan) -> None:
    machine = bare_lan["node-06"]
    machine.fill_disk()
    told = machine.run("head -c 10000 /dev/zero >/var/more", check=False)
    assert "No space left on device" in told.err
    machine.empty_disk()
    machine.run("head -c 10000 /dev/zero >/var/more")
    machine.fill_disk(leave_kb=64)
    machine.run("head -c 30000 /dev/zero >/var/more")
    machine.empty_disk()


def test_a_disk_without_inodes_takes_no_new_file(bare_lan: Lan) -> None:
    machine = bare_lan["node-06"]
    machine.fill_inodes()
    assert "No space left on device" in machine.run("touch /var/one-more", check=False).err
    machine.empty_disk()
    machine.run("touch /var/one-more")


def test_a_machine_goes_back_to_its_kept_state(bare_lan: Lan) -> None:
    machine = bare_lan["node-07"]
    machine.write_file("/var/kept", "kept\n")
    machine.run("rm /etc/debian_version")
    machine.keep()
    machine.boot()
    machine.write_file("/var/kept", "changed\n")
    machine.write_file("/var/new", "new\n")
    bare_lan.reset(["node-07"])
    assert machine.read_file("/var/kept") == "kept\n"
    machine.run("test ! -e /var/new && test ! -e /etc/debian_version")
    assert bare_lan.operator.ssh(machine.address, "hostname").out == "node-07\n"


def test_sudo_may_ask_the_bootstrap_user_for_a_password(bare_lan: Lan) -> None:
    machine = bare_lan["node-08"]
    machine.remake(replace(BARE, sudo_password=True, kome=False))
    machine.boot()
    ssh = bare_lan.operator.ssh
    assert "a password is required" in ssh(machine.address, "sudo -n id", user="debian").err
    typed = f"{SUDO_PASSWORD}\n"
    assert ssh(machine.address, "sudo -S id -u", user="debian", typed=typed).out == "0\n"
    assert "Permission denied" in ssh(machine.address, "true").err


def test_an_ext4_disk_fails_read_only_until_the_next_start(bare_lan: Lan) -> None:
    machine = bare_lan["node-09"]
    machine.remake(replace(BARE, disk=DiskSpec("ext4", mb=64)))
    machine.boot()
    machine.run("touch /var/before && sync /var/before /var")
    machine.fail_disk()
    told = machine.run("touch /var/after", check=False)
    assert "Read-only file system" in told.err
    machine.reboot()
    machine.run("test -e /var/before && touch /var/after")


def test_a_power_cut_of_an_ext4_disk_loses_what_was_not_synced(bare_lan: Lan) -> None:
    machine = bare_lan["node-10"]
    machine.remake(replace(BARE, disk=DiskSpec("ext4", mb=64)))
    machine.boot()
    machine.run("echo kept >/var/synced && sync /var/synced /var && echo lost >/var/unsynced")
    machine.cut_power()
    machine.boot()
    assert machine.read_file("/var/synced") == "kept\n"
    assert machine.run("cat /var/unsynced", check=False).out == ""


def test_status_says_of_every_bare_machine_that_it_is_not_set_up(bare_lan: Lan) -> None:
    bare_lan["node-08"].remake(BARE)  # an earlier test took kome away
    bare_lan["node-08"].boot()
    bare_lan["node-02"].change_host_key()
    ran = bare_lan.operator.kome_tui("status", "--json")
    assert ran.code == 1
    answer = StatusAnswer.model_validate_json(ran.out)
    assert len(answer.nodes) == 11
    changed = answer.nodes.pop("node-02")
    assert changed.ssh == "host-key-changed"
    for name, node in answer.nodes.items():
        assert (node.ssh, node.nginx, node.release.live) == ("ok", "stopped", None), node.missing
        assert "kome-tui" in node.missing["ssh"]
        assert f"rebuild {name}`" in node.missing["ssh"]
    assert answer.upstreams["okome"].state == "up"
    assert answer.upstreams["redis"].state == "up"


LEFT_BEHIND = """
import sys
from pathlib import Path
from tests.machines.image import machine_image
from tests.machines.lan import Lan

with machine_image() as image, Lan(image, Path(sys.argv[1]), ["kome"]) as lan:
    print(*lan["kome"].processes(), flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_leaves_no_process_mount_or_network(machines: Image, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEFT_BEHIND, str(tmp_path / "lan")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(machines.folder.parent.parent)},
        cwd=CHECKOUT,
    ) as run:
        assert run.stdout is not None
        processes = [int(word) for word in run.stdout.readline().split()]
        assert len(processes) > 5
        groups = [root / f"kome-machines-{run.pid}" for root in writable_roots()]
        assert all(group.exists() for group in groups)
        run.send_signal(signal.SIGKILL)
        run.wait(30)
    wait_until(lambda: not any(Path("/proc", str(process)).exists() for process in processes), 60)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()

    def removed() -> bool:
        run_group()
        return not any(group.exists() for group in groups)

    # What is left are empty control groups, until the next run, be it this or somebody else's.
    wait_until(removed)


def test_a_machine_that_is_made_anew_keeps_its_host_key(bare_lan: Lan) -> None:
    machine = bare_lan["node-01"]
    key = "/etc/ssh/ssh_host_ed25519_key.pub"
    before = machine.read_file(key).split()[:2]
    machine.remake(BARE)
    machine.boot()
    assert machine.read_file(key).split()[:2] == before
    assert machine.host_key == " ".join(before)
