"""The command line on a practice fleet: from bare nodes to a push, and every rehearsed failure."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.cli import push
from kome_tui.cli.options import Options
from kome_tui.errors import RefusedError
from kome_tui.lab.faults import FAULTS
from tests.command_line import Ran, interrupted, kome_tui
from tests.contract import PlanAnswer, ProbeAnswer, PushAnswer, StatusAnswer, TriageAnswer
from tests.lab_fixture import RunningLab, lab_process

FOUND_WITHIN_S = 5.0


class Fleet:
    """The command line, pointed at one lab."""

    def __init__(self, lab: RunningLab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.topology = lab.topology

    def run(self, *arguments: str | Path) -> Ran:
        chosen = ("-t", self.topology, "--ssh-config", self.lab.ssh_config)
        return kome_tui(*chosen, *arguments, cwd=self.folder)

    def words(self, *arguments: str) -> list[str]:
        """The command line of run()."""
        chosen = ("-t", str(self.topology), "--ssh-config", str(self.lab.ssh_config))
        return [sys.executable, "-m", "kome_tui", *chosen, *arguments]

    def deploy(self, *arguments: str) -> tuple[int, PushAnswer]:
        ran = self.run("deploy", "--json", *arguments)
        return ran.code, PushAnswer.model_validate_json(ran.out)

    def triage(self, *arguments: str) -> tuple[int, TriageAnswer]:
        ran = self.run("triage", "--json", *arguments)
        return ran.code, TriageAnswer.model_validate_json(ran.out)


@pytest.fixture(scope="module")
def bare_lab(tmp_path_factory: pytest.TempPathFactory, own_home: Path) -> Iterator[RunningLab]:
    """Eleven nodes that serve only their original page yet."""
    with lab_process(tmp_path_factory.mktemp("bare")) as lab:
        yield lab


@pytest.fixture
def fleet(practice_lab: RunningLab, tmp_path: Path) -> Fleet:
    """A lab on which everything is deployed."""
    made = Fleet(practice_lab, tmp_path)
    code, _ = made.deploy()
    assert code == 0
    return made


def test_from_bare_nodes_to_committed_to_unchanged(bare_lab: RunningLab, tmp_path: Path) -> None:
    fleet = Fleet(bare_lab, tmp_path)
    planned = fleet.run("plan", "--json")
    plans = PlanAnswer.model_validate_json(planned.out).nodes
    assert planned.code == 3
    assert len(plans) == 11
    assert all(plan.changed and plan.live is None for plan in plans.values())

    code, first = fleet.deploy()
    assert code == 0
    assert first.result == "ok"
    assert list(first.outcomes().values()) == ["committed"] * 11

    code, second = fleet.deploy()
    assert code == 0
    assert list(second.outcomes().values()) == ["unchanged"] * 11
    assert {name: seen.release for name, seen in second.nodes.items()} == {
        name: plan.wanted for name, plan in plans.items()
    }
    assert fleet.run("plan").code == 0


def test_rollback_goes_to_original_and_forward_again(bare_lab: RunningLab, tmp_path: Path) -> None:
    fleet = Fleet(bare_lab, tmp_path)
    fleet.deploy()
    ran = fleet.run("rollback", "node-04", "--to", "original", "--yes", "--json")
    back = PushAnswer.model_validate_json(ran.out)
    assert ran.code == 0
    assert back.outcomes() == {"node-04": "committed"}
    assert back.nodes["node-04"].release == "original"
    code, again = fleet.deploy("node-04")
    assert code == 0
    assert again.outcomes() == {"node-04": "committed"}


@pytest.mark.parametrize("moment", ["staging", "ready", "switching"])
def test_ctrl_c_takes_trials_back_and_reports_every_node(
    bare_lab: RunningLab, tmp_path: Path, moment: str
) -> None:
    fleet = Fleet(bare_lab, tmp_path)
    fleet.run("rollback", "--to", "original", "--yes")
    chosen = ("-t", fleet.topology, "--ssh-config", bare_lab.ssh_config)
    ran = interrupted(*chosen, "deploy", "--json", cwd=tmp_path, after=moment)
    report = PushAnswer.model_validate_json(ran.out)
    assert ran.code == 1
    assert len(report.nodes) == 11
    assert set(report.outcomes().values()) <= {"committed", "rolled-back", "untouched"}
    assert report.outcomes()["kome"] == "untouched"
    assert "stopped by the operator" in (report.nodes["kome"].reason or "")
    assert fleet.deploy()[1].result == "ok"


def test_rollback_without_yes_and_without_a_terminal_is_refused(fleet: Fleet) -> None:
    ran = fleet.run("rollback", "node-04")
    assert ran.code == 3
    assert "--yes" in ran.err


def test_rollback_asks_with_the_release_that_each_node_goes_to(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live = fleet.deploy()[1].nodes["node-04"].release
    monkeypatch.setattr(push, "is_interactive", lambda: True)
    monkeypatch.setattr(push, "ask", lambda question: False)
    options = Options(fleet.topology, fleet.lab.ssh_config, False)
    with pytest.raises(RefusedError, match="nothing was changed"):
        push.rollback(options, ["node-04"], "original", False, False, False)
    assert f"node-04    back to original, from {live}" in capsys.readouterr().err


def test_rollback_over_drift_is_refused_until_it_is_accepted(fleet: Fleet) -> None:
    back = ("rollback", "kome", "--to", "original", "--yes", "--json")
    fleet.run("lab", "break", "config-drift", "--dir", fleet.lab.directory)
    try:
        ran = fleet.run(*back)
        report = PushAnswer.model_validate_json(ran.out)
        assert (ran.code, report.outcomes()) == (3, {"kome": "refused"})
        assert "--accept-drift" in (report.nodes["kome"].reason or "")
        ran = fleet.run(*back, "--accept-drift")
        assert PushAnswer.model_validate_json(ran.out).outcomes() == {"kome": "committed"}
    finally:
        fleet.run("lab", "heal", "--dir", fleet.lab.directory)
    assert fleet.deploy("--accept-drift")[0] == 0


def test_trust_compares_the_fingerprint_of_a_recorded_key_too(fleet: Fleet) -> None:
    wrong = fleet.run("trust", "node-01", "--fingerprint", "SHA256:abc")
    assert wrong.code == 3
    assert "not SHA256:abc" in wrong.err
    shown = re.search(r"SHA256:[A-Za-z0-9+/]{43}", wrong.err)
    assert shown is not None
    assert fleet.run("trust", "node-01", "--fingerprint", shown[0]).code == 0
    assert fleet.run("trust", "node-01").code == 0


def test_probe_of_a_path_that_fails_says_so_once(fleet: Fleet) -> None:
    ran = fleet.run("probe", "http://127.0.0.1:9", "--tokens", "2")
    assert ran.code == 1
    assert ran.out == "http://127.0.0.1:9 failed: connection refused\n"


def test_read_only_refuses_every_change(fleet: Fleet) -> None:
    for command in (["deploy"], ["rollback", "--yes"]):
        ran = fleet.run("--read-only", *command)
        assert ran.code == 3
        assert "--read-only" in ran.err


def test_status_holds_to_the_contract(fleet: Fleet) -> None:
    ran = fleet.run("status", "--json")
    status = StatusAnswer.model_validate_json(ran.out)
    assert ran.code == 0
    assert len(status.nodes) == 11
    assert {node.ssh for node in status.nodes.values()} == {"ok"}
    assert {node.nginx for node in status.nodes.values()} == {"serving"}
    assert {upstream.state for upstream in status.upstreams.values()} == {"up"}
    assert set(status.upstreams["okome"].from_) == {"operator", "kome"}
    for node in status.nodes.values():
        assert node.release.live == node.release.wanted
        assert (node.cache.hit_rate is None) == (node.cache.why is not None)


def test_probe_holds_to_the_contract(fleet: Fleet) -> None:
    ran = fleet.run("probe", "--tokens", "32", "--json")
    probe = ProbeAnswer.model_validate_json(ran.out)
    assert ran.code == 0, ran.out
    assert list(probe.paths) == ["frontend", "okome", "gpu"]
    for path in probe.paths.values():
        assert path.ok
        assert path.tokens == 32
        assert not path.buffered
        assert path.gzip is not None
        assert not path.gzip.buffered
        assert path.arrivals_ns == sorted(path.arrivals_ns)


def test_probe_of_a_node_and_of_a_url(fleet: Fleet) -> None:
    url = f"http://{_address(fleet, 'okome')}"
    ran = fleet.run("probe", "node-03", url, "--tokens", "8", "--json")
    probe = ProbeAnswer.model_validate_json(ran.out)
    assert list(probe.paths) == ["node-03", url]
    assert all(path.ok for path in probe.paths.values())


@pytest.mark.parametrize("code", list(FAULTS))
def test_a_rehearsed_failure_is_found_first_and_gone_after_healing(fleet: Fleet, code: str) -> None:
    fleet.run("lab", "break", code, "--dir", fleet.lab.directory)
    try:
        exit_code, found = fleet.triage()
        if found.seconds > FOUND_WITHIN_S:  # something else kept this machine busy
            exit_code, found = fleet.triage()
    finally:
        healed = fleet.run("lab", "heal", "--dir", fleet.lab.directory)
    assert exit_code == 1
    assert found.codes()[0] == code
    assert found.verdict in ("degraded", "outage")
    assert found.seconds <= FOUND_WITHIN_S, found
    assert healed.code == 0
    _, after = fleet.triage()
    assert after.codes() == [], after


def test_the_way_around_is_told_only_once_it_was_tried(fleet: Fleet) -> None:
    fleet.run("lab", "break", "partition-frontend-okome", "--dir", fleet.lab.directory)
    try:
        _, found = fleet.triage("--no-probe")
    finally:
        fleet.run("lab", "heal", "--dir", fleet.lab.directory)
    told = " ".join(found.findings[0].guidance)
    assert f"http://{_address(fleet, 'okome')}" in told
    assert re.search(r"tried \d+ s ago from this laptop: 200", told)


def test_a_port_that_another_process_holds_leaves_the_old_release_serving(fleet: Fleet) -> None:
    _, before = fleet.deploy()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        fleet.topology = _with_port(fleet, "node-05", other.getsockname()[1])
        code, report = fleet.deploy()
    assert code == 3
    seen = report.nodes["node-05"]
    assert seen.outcome == "refused"
    assert "Address already in use" in (seen.reason or "")
    assert {name: node.release for name, node in report.nodes.items()} == {
        name: node.release for name, node in before.nodes.items()
    }
    fleet.topology = fleet.lab.topology
    assert set(fleet.deploy()[1].outcomes().values()) == {"unchanged"}


def test_drift_is_refused_until_it_is_accepted(fleet: Fleet) -> None:
    fleet.run("lab", "break", "config-drift", "--dir", fleet.lab.directory)
    try:
        code, report = fleet.deploy()
        assert code == 3
        assert report.outcomes()["kome"] == "refused"
        assert set(report.outcomes().values()) == {"refused", "unchanged"}
        planned = PlanAnswer.model_validate_json(fleet.run("plan", "kome", "--json").out)
        assert planned.nodes["kome"].drift is True
        assert planned.nodes["kome"].diff
        code, report = fleet.deploy("--accept-drift")
        assert code == 0
        assert report.outcomes()["kome"] == "committed"
    finally:
        fleet.run("lab", "heal", "--dir", fleet.lab.directory)
    assert set(fleet.deploy()[1].outcomes().values()) == {"unchanged"}


def test_what_was_changed_by_hand_is_brought_back_by_a_rollback(fleet: Fleet) -> None:
    """The file that was kept still answers with the id it was made of."""
    fleet.run("lab", "break", "config-drift", "--dir", fleet.lab.directory)
    try:
        code, report = fleet.deploy("kome", "--accept-drift")
        assert code == 0
        changed = report.nodes["kome"].previous
        wanted = report.nodes["kome"].release
        ran = fleet.run("rollback", "kome", "--yes", "--json")
        back = PushAnswer.model_validate_json(ran.out)
        assert back.outcomes() == {"kome": "committed"}, back
        assert back.nodes["kome"].release not in (wanted, None)
        assert f"from {wanted}" in (back.nodes["kome"].reason or "")
        assert changed is not None
    finally:
        fleet.deploy("kome", "--accept-drift")
        fleet.run("lab", "heal", "--dir", fleet.lab.directory)
    assert set(fleet.deploy()[1].outcomes().values()) == {"unchanged"}


def test_with_an_ssh_of_ours_that_fails_nothing_is_healthy(fleet: Fleet) -> None:
    nowhere = ("-t", fleet.topology, "--ssh-config", "/nonexist")
    ran = kome_tui(*nowhere, "triage", "--no-probe", "--json", cwd=fleet.folder)
    found = TriageAnswer.model_validate_json(ran.out)
    assert (ran.code, found.verdict, found.codes()) == (1, "degraded", ["ssh-client-failed"])
    again = f"kome-tui -t {fleet.topology} --ssh-config /nonexist triage"
    assert [action.command for action in found.findings[0].actions] == [again]
    ran = kome_tui(*nowhere, "status", "--json", cwd=fleet.folder)
    status = StatusAnswer.model_validate_json(ran.out)
    assert ran.code == 1
    assert {node.ssh for node in status.nodes.values()} == {"unreachable"}
    assert all("/nonexist" in node.missing["ssh"] for node in status.nodes.values())


def test_what_to_do_next_is_a_command_about_this_fleet(fleet: Fleet) -> None:
    """Pasted without -t it would be about the fleet of the folder the operator stands in."""
    script = fleet.lab.directory / "nodes/node-10/kome-node"
    taken = script.rename(script.with_name("taken-away"))
    own = f"kome-tui -t {fleet.topology} --ssh-config {fleet.lab.ssh_config}"
    try:
        for command in ("plan", "deploy", "rollback --yes", "purge --yes", "status"):
            verb, *more = command.split()
            named = () if verb == "status" else ("node-10",)
            ran = fleet.run(verb, *named, *more)
            assert f"`{own} rebuild node-10`" in ran.out + ran.err, command
            assert "`kome-tui rebuild" not in ran.out + ran.err, command
        _, answer = fleet.deploy("node-10")
        assert f"`{own} rebuild node-10`" in (answer.nodes["node-10"].reason or "")
    finally:
        taken.rename(script)


def closed_pipe() -> int:
    """The end to write to of a pipe that nobody reads any more, as after `| head`."""
    read, write = os.pipe()
    os.close(read)
    return write


def test_a_push_whose_progress_nobody_reads_goes_on(fleet: Fleet) -> None:
    """As with `deploy 2>&1 >report | head`."""
    pipe = closed_pipe()
    try:
        done = subprocess.run(
            fleet.words("deploy", "--json"),
            stdout=subprocess.PIPE,
            stderr=pipe,
            timeout=60,
            check=False,
        )
    finally:
        os.close(pipe)
    assert PushAnswer.model_validate_json(done.stdout).result == "ok"
    assert done.returncode == 0


def test_a_push_whose_report_nobody_reads_has_its_exit_code(fleet: Fleet) -> None:
    words = fleet.words("rollback", "node-01", "--to", "aaaaaaaaaaaa", "--yes")
    pipe = closed_pipe()
    try:
        done = subprocess.run(
            words, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    finally:
        os.close(pipe)
    assert done.returncode == 3
    assert "is not kept there" in done.stderr


def _address(fleet: Fleet, upstream: str) -> str:
    from kome_tui.topology.load import load
    from kome_tui.topology.model import UpstreamName

    return str(load(fleet.topology).endpoint(UpstreamName(upstream)))


def _with_port(fleet: Fleet, node: str, port: int) -> Path:
    """A copy of the topology in which nginx of `node` listens somewhere else."""
    from kome_tui.topology.load import load

    was = load(fleet.lab.topology).http_of(node).port
    copy = fleet.folder / "moved.yaml"
    text = fleet.lab.topology.read_text()
    assert text.count(f"port: {was}\n") == 1
    copy.write_text(text.replace(f"port: {was}\n", f"port: {port}\n"))
    return copy
