"""Each fault really does to the sockets and files what its line says, and `heal` undoes it."""

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kome_tui.errors import SshUnreachable
from kome_tui.fleet.fleet import Fleet
from kome_tui.lab.control import send
from kome_tui.lab.faults import FAULTS
from kome_tui.lab.node import HAND_EDIT
from kome_tui.topology.load import load
from kome_tui.topology.model import Endpoint, Topology, UpstreamName
from tests.lab_fixture import RunningLab, lab_process
from tests.waiting import wait_until

CODES = (
    "frontend-unreachable",
    "nginx-down",
    "okome-down",
    "partition-frontend-okome",
    "redis-down",
    "vllm-down",
    "stream-buffered",
    "config-drift",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with lab_process(tmp_path_factory.mktemp("faults"), nodes=2, traffic=False) as lab:
        yield lab


@pytest.fixture
def topology(lab: RunningLab) -> Iterator[Topology]:
    yield load(lab.topology)
    send(lab.directory, "heal")


def accepts(endpoint: Endpoint) -> bool:
    with socket.socket() as line:
        line.settimeout(5)
        return line.connect_ex((endpoint.address, endpoint.port)) == 0


def ssh_port(lab: RunningLab, node: str) -> Endpoint:
    resolved = subprocess.run(
        ["ssh", "-G", "-F", str(lab.ssh_config), node], capture_output=True, text=True, check=True
    ).stdout
    (port,) = [line.split()[1] for line in resolved.splitlines() if line.startswith("port ")]
    return Endpoint(address="127.0.0.1", port=int(port))


def health(topology: Topology) -> dict[str, str]:
    with urllib.request.urlopen(f"http://{topology.upstreams.okome}/health", timeout=5) as answer:
        said = json.load(answer)
    return {name: part["status"] for name, part in said["components"].items()}


def okome_of(topology: Topology, node: str) -> Endpoint:
    return topology.endpoint(UpstreamName.OKOME, node)


def reads_of_a_stream(endpoint: Endpoint) -> int:
    """How many tokens came in the largest read of a stream of 40."""
    asked = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 40, "stream": True}
    body = json.dumps(asked).encode()
    with socket.create_connection((endpoint.address, endpoint.port), 5) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        line.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        largest = 0
        while data := line.recv(65536):
            largest = max(largest, data.count(b'"content": " '))
    return largest


def live_conf(lab: RunningLab) -> Path:
    return (lab.directory / "nodes/kome/etc/nginx/nginx.conf").resolve()


def test_the_eight_are_there_and_described_in_one_line() -> None:
    assert tuple(FAULTS) == CODES
    for fault in FAULTS.values():
        assert fault.description
        assert "\n" not in fault.description


def test_frontend_unreachable(lab: RunningLab, topology: Topology) -> None:
    ssh, http = ssh_port(lab, "kome"), topology.http_of("kome")
    with Fleet(topology, lab.ssh_config) as fleet:
        fleet.connect("kome")
        send(lab.directory, "break", "frontend-unreachable")
        assert not accepts(ssh)
        assert not accepts(http)
        with pytest.raises(SshUnreachable):
            fleet.node("kome").status()
        assert accepts(topology.http_of("node-03"))
        assert accepts(topology.upstreams.okome)
        send(lab.directory, "heal")
        assert accepts(http)
        assert fleet.node("kome").status().nginx == "serving"


def test_nginx_down(lab: RunningLab, topology: Topology) -> None:
    send(lab.directory, "break", "nginx-down")
    assert not accepts(topology.http_of("kome"))
    with Fleet(topology, lab.ssh_config) as fleet:
        assert fleet.node("kome").status().nginx == "stopped"
        send(lab.directory, "heal")
        assert fleet.node("kome").status().nginx == "serving"


def test_okome_down_is_down_for_everyone(lab: RunningLab, topology: Topology) -> None:
    views = [topology.upstreams.okome, *(okome_of(topology, name) for name in topology.nodes)]
    send(lab.directory, "break", "okome-down")
    assert [accepts(view) for view in views] == [False, False, False]
    send(lab.directory, "heal")
    assert [accepts(view) for view in views] == [True, True, True]


def test_partition_is_between_frontend_and_okome_only(lab: RunningLab, topology: Topology) -> None:
    send(lab.directory, "break", "partition-frontend-okome")
    assert not accepts(okome_of(topology, "kome"))
    assert accepts(okome_of(topology, "node-03"))
    assert health(topology) == {"redis": "up", "vllm": "up"}
    send(lab.directory, "heal")
    assert accepts(okome_of(topology, "kome"))


def test_redis_down(lab: RunningLab, topology: Topology) -> None:
    send(lab.directory, "break", "redis-down")
    assert not accepts(topology.upstreams.redis)
    assert health(topology) == {"redis": "down", "vllm": "up"}
    send(lab.directory, "heal")
    assert health(topology) == {"redis": "up", "vllm": "up"}


def test_vllm_down(lab: RunningLab, topology: Topology) -> None:
    send(lab.directory, "break", "vllm-down")
    assert not accepts(topology.upstreams.vllm)
    assert health(topology) == {"redis": "up", "vllm": "down"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{topology.upstreams.okome}/v1/models", timeout=5)
    with refused.value:
        assert refused.value.code == 502
    send(lab.directory, "heal")
    assert health(topology) == {"redis": "up", "vllm": "up"}


def test_stream_buffered_clumps_what_the_frontend_gets(lab: RunningLab, topology: Topology) -> None:
    send(lab.directory, "break", "stream-buffered")
    assert reads_of_a_stream(okome_of(topology, "kome")) >= 8
    assert reads_of_a_stream(okome_of(topology, "node-03")) <= 5
    send(lab.directory, "heal")
    assert reads_of_a_stream(okome_of(topology, "kome")) <= 5


def test_config_drift_changes_the_live_file_and_heal_restores_its_bytes(
    lab: RunningLab, topology: Topology
) -> None:
    conf = live_conf(lab)
    before, mode = conf.read_bytes(), conf.stat().st_mode
    send(lab.directory, "break", "config-drift")
    send(lab.directory, "break", "config-drift")
    assert conf.read_bytes() == before + HAND_EDIT
    assert conf.stat().st_mode == mode
    send(lab.directory, "heal")
    assert (conf.read_bytes(), conf.stat().st_mode) == (before, mode)


def test_config_drift_leaves_a_release_alone_that_was_pushed_meanwhile(
    lab: RunningLab, topology: Topology, tmp_path: Path
) -> None:
    conf = live_conf(lab)
    original = conf.read_bytes()
    send(lab.directory, "break", "config-drift")
    release = tmp_path / "nginx.conf"
    release.write_bytes(b"pushed\n" + HAND_EDIT)
    kept = conf.with_name("kept")
    conf.rename(kept)
    conf.symlink_to(release)
    try:
        send(lab.directory, "heal")
        assert release.read_bytes() == b"pushed\n" + HAND_EDIT
    finally:
        kept.write_bytes(original)
        kept.replace(conf)


@pytest.mark.parametrize("order", [CODES, CODES[::-1]], ids=["in-order", "reversed"])
def test_all_at_once_and_healed_twice(
    lab: RunningLab, topology: Topology, order: tuple[str, ...]
) -> None:
    for code in order:
        send(lab.directory, "break", code)
    assert send(lab.directory, "faults") == ", ".join(sorted(CODES))
    assert send(lab.directory, "heal") == f"healed: {', '.join(sorted(CODES))}"
    assert send(lab.directory, "heal") == "nothing was broken"
    healed: list[Callable[[], bool]] = [
        lambda: accepts(ssh_port(lab, "kome")),
        lambda: accepts(topology.http_of("kome")),
        lambda: accepts(okome_of(topology, "kome")),
        lambda: health(topology) == {"redis": "up", "vllm": "up"},
        lambda: HAND_EDIT not in live_conf(lab).read_bytes(),
    ]
    assert [check() for check in healed] == [True] * len(healed)


@pytest.mark.parametrize("code", ["frontend-unreachable", "nginx-down", "config-drift"])
def test_fault_and_heal_on_a_release_of_ours(
    lab: RunningLab, topology: Topology, code: str
) -> None:
    """Heal starts nginx on what its disk says then, and leaves the release as it was pushed."""
    from kome_tui.nginx.render import render_release

    release = render_release(topology, "kome")
    with Fleet(topology, lab.ssh_config) as fleet:
        node = fleet.node("kome")
        if node.status().live != release.id:
            node.stage(release.id, release.conf.encode())
            assert node.apply(release.id, "token-1", 10).on_trial
            assert node.confirm("token-1").decision == "confirmed"
        send(lab.directory, "break", code)
        send(lab.directory, "heal")
        healed = wait_until(node.status)
    assert (healed.running, healed.live, healed.drift) == (release.id, release.id, False)
    assert live_conf(lab).read_bytes() == release.conf.encode()
