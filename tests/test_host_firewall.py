"""The firewall, loaded by the real nft, between hosts that send real packets."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kome_tui.nginx.host import host_files, ports_in_use
from kome_tui.topology.model import Topology
from tests.builders_topology import topology, topology_values
from tests.host_programs import file_at, needs, program, put
from tests.net_hosts import Host, two_hosts
from tests.waiting import wait_until

NODE = "node-03"
NODE_4, NODE_6 = "192.168.86.43", "fd00::43"
LAPTOP_4, LAPTOP_6 = "192.168.86.9", "fd00::9"
PATIENT_S, SHORT_S = "20", "1"

pytestmark = needs("nft", "ip", "unshare", "nsenter")


@dataclass(frozen=True, slots=True)
class Lan:
    """A node with the firewall's file, and the operator's laptop."""

    node: Host
    laptop: Host
    topology: Topology
    table: Path

    def load(self) -> None:
        """What the boot unit does."""
        self.node.run(program("nft"), "-f", f"{self.table}")

    def rules(self) -> str:
        """Every table of the node, without its counts."""
        return self.node.run(program("nft"), "--stateless", "list", "ruleset")

    def dropped(self) -> int:
        """Packets that no rule has let in."""
        text = self.node.run(program("nft"), "--json", "list", "chain", "inet", "kome", "input")
        rules: list[dict[str, Any]] = [
            part["rule"] for part in json.loads(text)["nftables"] if "rule" in part
        ]
        [last] = [rule for rule in rules if rule.get("comment") == "dropped"]
        [count] = [part["counter"]["packets"] for part in last["expr"] if "counter" in part]
        return int(count)

    def ask(self, port: int, address: str = NODE_4) -> str:
        """The laptop asks a port that answers."""
        return self.laptop.peer("ask", address, f"{port}", PATIENT_S)

    def is_dropped(self, port: int, address: str = NODE_4) -> bool:
        """The laptop's packets to a port are counted as dropped, and nothing comes back."""
        before = self.dropped()
        answer = self.laptop.peer("ask", address, f"{port}", SHORT_S)
        wait_until(lambda: self.dropped() > before)
        return answer == "silent"


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    nodes = topology_values()["nodes"]
    nodes[NODE] |= {"port": 8080, "ssh": {"port": 2022}, "layout": {"state": f"{tmp_path}/kome"}}
    fleet = topology(nodes=nodes)
    table = put(file_at(host_files(fleet, NODE), "firewall.nft"), Path("/"))
    with two_hosts((f"{NODE_4}/24", f"{NODE_6}/64"), (f"{LAPTOP_4}/24", f"{LAPTOP_6}/64")) as (
        node,
        laptop,
    ):
        yield Lan(node, laptop, fleet, table)


def ready(server: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
    """Wait until a server of net_peer.py listens."""
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return server


def lines(server: "subprocess.Popen[str]", count: int) -> list[str]:
    """The next lines of a server; the test's own time limit ends a wait for ever."""
    assert server.stdout is not None
    return [server.stdout.readline().strip() for _ in range(count)]


def test_ssh_and_http_answer_and_another_port_does_not(lan: Lan) -> None:
    ready(lan.node.start("serve", "2022", "8080", "22", "80", "9100"))
    assert lan.ask(9100) == "open"
    lan.load()
    for address in (NODE_4, NODE_6):
        assert lan.ask(2022, address) == "open"
        assert lan.ask(8080, address) == "open"
        for other in (22, 80, 9100):
            assert lan.is_dropped(other, address)


def test_a_host_still_gets_what_it_needs_to_live(lan: Lan) -> None:
    server = ready(lan.node.start("serve", "5353", "68", "5354"))
    vrrp = ready(lan.node.start("raw-serve", "112"))
    ready(lan.laptop.start("serve", "7000"))
    lan.load()
    for address in (NODE_4, NODE_6):
        assert lan.laptop.peer("ping", address, PATIENT_S) == "answered"
    for address in (LAPTOP_4, LAPTOP_6):  # its own questions get their answers
        assert lan.node.peer("ask", address, "7000", PATIENT_S) == "open"
    assert lan.node.peer("ask", "127.0.0.1", "5354", PATIENT_S) == "open"
    before = lan.dropped()
    lan.laptop.peer("udp", NODE_4, "5354")
    lan.laptop.peer("udp", NODE_4, "68", "9967")
    wait_until(lambda: lan.dropped() == before + 2)
    lan.laptop.peer("udp", NODE_4, "5353")
    lan.laptop.peer("udp", NODE_4, "68", "67")
    assert set(lines(server, 2)) == {"5353", "68"}
    lan.laptop.peer("raw", NODE_4, "112")
    assert lines(vrrp, 1) == ["112"]
    assert lan.dropped() == before + 2


def test_a_stream_that_runs_lives_on_when_the_firewall_comes(lan: Lan) -> None:
    ready(lan.laptop.start("stream", "8000"))
    reader = lan.node.start("read", LAPTOP_4, "8000")
    assert lines(reader, 5) == ["byte"] * 5
    lan.load()
    assert lines(reader, 200) == ["byte"] * 200
    lan.load()
    assert lines(reader, 200) == ["byte"] * 200


def test_loading_it_twice_is_loading_it_once(lan: Lan) -> None:
    lan.load()
    once = lan.rules()
    lan.load()
    assert lan.rules() == once
    assert once.count("table ") == 1


def test_tables_of_others_stay_as_they_are(lan: Lan) -> None:
    lan.node.run(
        program("nft"), "add table ip theirs; add chain ip theirs c; add rule ip theirs c drop"
    )
    before = lan.rules()
    lan.load()
    assert before in lan.rules()
    lan.load()
    [stop] = [
        row.removeprefix("ExecStop=-")
        for row in file_at(host_files(lan.topology, NODE), "kome-firewall.service").text.split("\n")
        if row.startswith("ExecStop=")
    ]
    lan.node.run(*stop.split())
    assert lan.rules() == before


def test_the_port_the_operator_came_through_stays_open(lan: Lan) -> None:
    ready(lan.node.start("serve", "2222", "2022"))
    put(ports_in_use(lan.topology, NODE, [2222, 2022]), Path("/"))
    lan.load()
    assert lan.ask(2222) == "open"
    assert lan.ask(2022) == "open"
    lan.load()
    assert lan.ask(2222) == "open"


def test_a_file_that_nft_refuses_changes_nothing(lan: Lan) -> None:
    lan.load()
    before = lan.rules()
    lan.table.write_text(lan.table.read_text().replace("policy drop", "policy perhaps"))
    check = file_at(host_files(lan.topology, NODE), "firewall.nft").check
    assert subprocess.run(
        lan.node.command(*check, f"{lan.table}"), capture_output=True, timeout=60
    ).returncode
    with pytest.raises(AssertionError, match="perhaps"):
        lan.load()
    assert lan.rules() == before


@pytest.mark.parametrize("ports", [[], [0], [65536], [22, -1]])
def test_what_is_no_port_gets_into_no_rule(ports: list[int]) -> None:
    with pytest.raises(ValueError, match="not ports"):
        ports_in_use(topology(), NODE, ports)


def test_a_node_may_have_no_firewall() -> None:
    host = host_files(topology(layout={"firewall": "none"}), NODE)
    assert not [file.path for file in host.files if "firewall" in file.path]
    assert "kome-firewall.service" not in host.units
