"""The host files on a real Debian machine: what systemd makes of them, at boot and after."""

from collections.abc import Iterator

import pytest

from kome_tui.topology.model import Cache, Topology
from tests.machines.image import Image
from tests.machines.lan import Lan
from tests.machines.machine import Machine, MachineSpec
from tests.machines.node import set_up_node

NODE = "node-03"
LOG = "/var/log/nginx/access.log"


def with_cache_in_memory(fleet: Topology) -> Topology:
    """The shipped fleet, its caches in memory."""
    return fleet.model_copy(update={"cache": Cache(size="200m", tmpfs="256m")})


@pytest.fixture(scope="module")
def machine(machines: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One machine with its host files, started again since they came."""
    folder = tmp_path_factory.mktemp("lan")
    with Lan(machines, folder, [NODE], spec=MachineSpec("serving")) as lan:
        made = lan[NODE]
        set_up_node(made, with_cache_in_memory(lan.topology))
        made.restart()
        yield made


def shown(machine: Machine, unit: str, name: str) -> str:
    """A property of a unit."""
    return machine.run(["systemctl", "show", "--value", "-p", name, unit]).out.strip()


def test_recover_has_run_before_nginx_and_runs_no_more(machine: Machine) -> None:
    assert "end ok" in machine.run("journalctl -b -o cat -u kome-recover").out
    done = int(shown(machine, "kome-recover", "ExecMainExitTimestampMonotonic"))
    nginx = int(shown(machine, "nginx", "InactiveExitTimestampMonotonic"))
    assert 0 < done < nginx
    machine.run("systemctl restart nginx")
    assert int(shown(machine, "kome-recover", "ExecMainExitTimestampMonotonic")) == done


def test_the_cache_is_in_memory_before_nginx_starts(machine: Machine) -> None:
    told = machine.run("findmnt -n -o FSTYPE,OPTIONS /var/cache/nginx/kome").out
    assert told.startswith("tmpfs")
    assert "noexec" in told
    assert machine.run("stat -c '%U %a' /var/cache/nginx/kome").out == "www-data 700\n"


def test_the_firewall_is_there_from_the_start_and_after_the_hosts_own(machine: Machine) -> None:
    listed = "nft list table inet kome | grep -c 'policy drop'"
    assert machine.run(listed).out == "1\n"
    theirs = "nft list tables | grep -c 'table inet filter'"
    for verb in ("start", "restart", "reload"):  # each flushes every table first
        machine.run(f"systemctl {verb} nftables")
        assert machine.run(listed).out == machine.run(theirs).out == "1\n"
    machine.run("systemctl stop nftables")
    assert machine.run(listed).out == "1\n"
    machine.run("systemctl stop kome-firewall")
    assert machine.run("nft list tables").out == ""
    machine.run("systemctl start kome-firewall")


def test_a_look_at_small_logs_leaves_no_trace_and_a_large_one_is_rotated(machine: Machine) -> None:
    assert shown(machine, "kome-logs.timer", "ActiveState") == "active"
    written = "cat /var/lib/logrotate/status 2>/dev/null | cksum; journalctl -o cat -u kome-logs"
    before = machine.run(written).out
    machine.run("echo a line >>" + LOG)
    machine.run("systemctl start kome-logs.service", check=False)
    assert shown(machine, "kome-logs.service", "Result") == "exec-condition"
    assert machine.run(written).out == before
    machine.run(f"truncate -s 65M {LOG} && systemctl start kome-logs.service")
    assert shown(machine, "kome-logs.service", "Result") == "success"
    assert machine.run(f"stat -c %s {LOG}").out == "0\n"
    assert machine.run(f"stat -c '%U %G %a' {LOG}").out == "www-data adm 640\n"
    worker = 'ls -l /proc/"$(cat /run/nginx.pid)"/fd'
    assert f"{LOG}.1" not in machine.run(worker).out


def test_sudo_and_sshd_take_their_files(machine: Machine) -> None:
    asked = "printf 'kome/1 status\\n' | su -s /bin/sh -c 'sudo -n /usr/local/sbin/kome-node' kome"
    assert machine.run(asked).out.splitlines()[-1].startswith("end ok")
    assert machine.run("sshd -t && visudo -c").code == 0


def test_nginx_starts_without_its_folders_and_whatever_recover_does(machine: Machine) -> None:
    machine.run("cp /usr/local/sbin/kome-node /root/kept")
    machine.run("printf '#!/bin/sh\\nexit 1\\n' >/usr/local/sbin/kome-node")
    machine.power_off()
    machine.offline("rm -rf /var/cache/nginx /var/log/nginx")
    machine.boot()
    assert shown(machine, "kome-recover", "ActiveState") == "failed"
    assert shown(machine, "nginx", "ActiveState") == "active"
    assert machine.run("stat -c '%U %a' /var/cache/nginx/kome").out == "www-data 700\n"
    machine.run("cp /root/kept /usr/local/sbin/kome-node")
