"""The push engine: order, the stop rule, and an outcome for every node."""

import threading
from collections.abc import Callable, Iterator

import pytest

from kome_tui.errors import (
    KomeError,
    NodeBusy,
    NodeRefused,
    NodeTimeout,
    NoSshClient,
    NotSetUp,
    SshUnreachable,
    UsageError,
)
from kome_tui.fleet.answers import Applied
from kome_tui.fleet.script import script_digest
from kome_tui.nginx.render import render_release
from kome_tui.release.deploy import deploy
from kome_tui.release.outcome import Outcome, Progress, PushReport
from kome_tui.release.plan import plan
from kome_tui.release.rollback import rollback
from kome_tui.release.waves import waves
from kome_tui.release.way_back import prove_way_back
from kome_tui.topology.model import Role
from tests.release_fleet import FIRST, ScriptedFleet, scripted_fleet


@pytest.fixture
def fleet() -> Iterator[ScriptedFleet]:
    with scripted_fleet() as made:
        yield made


def push(fleet: ScriptedFleet, *, accept_drift: bool = False) -> tuple[PushReport, list[Progress]]:
    steps: list[Progress] = []
    report = deploy(
        fleet.topology,
        fleet,
        tuple(fleet.nodes),
        accept_drift=accept_drift,
        report=steps.append,
        stop=threading.Event(),
    )
    return report, steps


def outcomes(report: PushReport) -> dict[str, Outcome]:
    return {name: seen.outcome for name, seen in report.nodes.items()}


def test_one_canary_per_role_goes_first_and_the_frontend_last(fleet: ScriptedFleet) -> None:
    made = waves(fleet.topology, fleet.nodes)
    assert made[0] == ("node-01", "node-03", "node-07", "node-09")
    assert made[-1] == ("kome",)
    assert sorted(name for wave in made for name in wave) == sorted(fleet.nodes)


@pytest.mark.parametrize("renewed", [True, False])
def test_old_script_is_told_where_a_new_start_has_the_same(
    fleet: ScriptedFleet, renewed: bool
) -> None:
    """One that was started ahead of the push may be from before a rebuild."""
    now = script_digest(fleet.topology, "node-01")
    fleet.nodes["node-01"].scripts = ["0" * 12, now if renewed else "0" * 12]
    report, steps = push(fleet)
    assert report.result == "ok"
    assert any("its kome-node is old" in step.text for step in steps) is not renewed


def test_old_script_that_was_started_for_the_push_is_asked_once(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].scripts = ["0" * 12]
    _, steps = push(fleet)
    assert fleet.nodes["node-01"].calls.count("stage") == 1
    assert any("its kome-node is old" in step.text for step in steps)


def test_a_push_of_nothing_has_no_wave(fleet: ScriptedFleet) -> None:
    assert waves(fleet.topology, ()) == ()


def test_push_commits_every_node(fleet: ScriptedFleet) -> None:
    report, steps = push(fleet)
    assert report.result == "ok"
    assert set(outcomes(report).values()) == {"committed"}
    for name, seen in report.nodes.items():
        assert seen.release == render_release(fleet.topology, name).id
        assert seen.previous == FIRST
    assert [step.node for step in steps if step.step == "done"][-1] == "kome"


def test_a_second_push_changes_nothing(fleet: ScriptedFleet) -> None:
    push(fleet)
    report, _ = push(fleet)
    assert report.result == "ok"
    assert set(outcomes(report).values()) == {"unchanged"}
    assert all(node.calls.count("apply") == 1 for node in fleet.nodes.values())


def test_push_stops_after_a_canary_fails(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-03"].taken_back = "bind() failed (98: Address already in use)"
    report, _ = push(fleet)
    seen = outcomes(report)
    assert report.result == "failed"
    assert seen["node-03"] == "rolled-back"
    assert report.nodes["node-03"].reason == "bind() failed (98: Address already in use)"
    assert report.nodes["node-03"].release == FIRST
    assert seen["kome"] == seen["node-04"] == "untouched"
    assert seen["node-01"] == "committed"


def test_a_refusal_while_staging_changes_nothing_anywhere(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-04"].fail["stage"] = NodeRefused("node-04", "stage", "unknown directive")
    report, _ = push(fleet)
    assert report.result == "refused"
    assert outcomes(report)["node-04"] == "refused"
    assert "unknown directive" in (report.nodes["node-04"].reason or "")
    assert not any("apply" in node.calls for node in fleet.nodes.values())


@pytest.mark.parametrize(
    "error", [NodeBusy("node-04", "eve since 12 s"), NotSetUp("node-04", "no kome-node there")]
)
def test_busy_and_not_set_up_refuse(fleet: ScriptedFleet, error: NodeBusy | NotSetUp) -> None:
    fleet.nodes["node-04"].fail["stage"] = error
    report, _ = push(fleet)
    assert report.result == "refused"
    assert outcomes(report)["node-04"] == "refused"


def test_an_unreachable_node_is_skipped_and_reported(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].fail["stage"] = SshUnreachable("node-01", "connection refused")
    report, _ = push(fleet)
    seen = outcomes(report)
    assert seen.pop("node-01") == "unreachable"
    assert set(seen.values()) == {"committed"}
    assert report.result == "failed"


def test_drift_is_refused_until_it_is_accepted(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-04"].drift = True
    report, _ = push(fleet)
    assert outcomes(report)["node-04"] == "refused"
    assert report.result == "refused"
    report, _ = push(fleet, accept_drift=True)
    assert report.result == "ok"


def test_a_node_that_answers_wrongly_from_outside_goes_back(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].answers = "bbbbbbbbbbbb"
    report, _ = push(fleet)
    seen = report.nodes["node-01"]
    assert seen.outcome == "rolled-back"
    assert seen.release == FIRST
    assert "bbbbbbbbbbbb" in (seen.reason or "")


def test_a_confirm_that_is_refused_means_the_node_went_back(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].fail_once["confirm"] = NodeRefused("node-01", "confirm", "not serving")
    report, _ = push(fleet)
    assert report.nodes["node-01"].outcome == "rolled-back"
    assert "not serving" in (report.nodes["node-01"].reason or "")
    assert report.result == "failed"


def test_a_switch_that_failed_half_way_is_asked_for_and_taken_back(fleet: ScriptedFleet) -> None:
    """The node said "failed" while its trial was open: never "refused", as if nothing had begun."""
    node = fleet.nodes["node-01"]
    apply = node.apply

    def begun_then_failed(release_id: str, token: str, trial_s: float) -> Applied:
        apply(release_id, token, trial_s)
        raise NodeRefused("node-01", "apply", "the node does not answer", failed=True)

    node.apply = begun_then_failed  # type: ignore[method-assign]
    report, _ = push(fleet)
    assert report.nodes["node-01"].outcome == "rolled-back"
    assert "cancel" in node.calls


def test_a_switch_that_failed_before_it_began_is_a_refusal(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].fail["apply"] = NodeRefused(
        "node-01", "apply", "cannot write", failed=True
    )
    fleet.nodes["node-01"].fail["cancel"] = NodeRefused("node-01", "cancel", "no such trial")
    report, _ = push(fleet)
    assert report.nodes["node-01"].outcome == "refused"
    assert report.nodes["node-01"].release == FIRST


@pytest.mark.parametrize(
    "no_answer",
    [
        NodeRefused("node-01", "cancel", "the decision cannot be written", failed=True),
        NodeRefused("node-01", "session", "administratively prohibited"),
    ],
)
@pytest.mark.parametrize("lost_in", ["apply", "confirm"])
def test_a_cancel_that_was_not_heard_is_asked_again(
    fleet: ScriptedFleet, no_answer: NodeRefused, lost_in: str
) -> None:
    """Only the node's own word means that there is no trial of ours."""
    node = fleet.nodes["node-01"]
    apply = node.apply

    def begun(release_id: str, token: str, trial_s: float) -> Applied:
        applied = apply(release_id, token, trial_s)
        if lost_in == "apply":
            raise NodeRefused("node-01", "apply", "the node does not answer", failed=True)
        return applied

    node.apply = begun  # type: ignore[method-assign]
    node.fail_once["confirm"] = NodeTimeout("node-01", "connection lost")
    node.fail_once["cancel"] = no_answer
    report, _ = push(fleet)
    assert node.calls.count("cancel") == 2
    assert report.nodes["node-01"].outcome == "rolled-back"
    assert report.nodes["node-01"].release == FIRST


def test_a_node_that_runs_something_else_than_its_disk_says_is_degraded(
    fleet: ScriptedFleet,
) -> None:
    fleet.nodes["node-01"].taken_back = "nginx does not start"
    fleet.nodes["node-01"].degraded = True
    report, _ = push(fleet)
    assert report.nodes["node-01"].outcome == "degraded"


def test_what_was_changed_by_hand_is_gone_back_to_under_its_own_id(fleet: ScriptedFleet) -> None:
    node = fleet.nodes["node-01"]
    node.drift, node.own_id, node.answers = True, "dddddddddddd", "bbbbbbbbbbbb"
    report, _ = push(fleet, accept_drift=True)
    assert report.nodes["node-01"].outcome == "rolled-back"
    assert report.nodes["node-01"].release == "dddddddddddd"


def test_a_connection_lost_while_confirming_asks_the_node(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].fail_once["confirm"] = NodeTimeout("node-01", "connection lost")
    report, _ = push(fleet)
    assert report.nodes["node-01"].outcome == "rolled-back"
    assert "connection lost" in (report.nodes["node-01"].reason or "")
    assert fleet.nodes["node-01"].live == FIRST


def test_stopping_takes_trials_back_and_leaves_the_rest(fleet: ScriptedFleet) -> None:
    stop = threading.Event()
    fleet.nodes["node-01"].before_apply = stop.set
    report = deploy(fleet.topology, fleet, tuple(fleet.nodes), report=lambda _: None, stop=stop)
    assert report.nodes["node-01"].outcome == "rolled-back"
    assert report.nodes["kome"].outcome == "untouched"
    assert "stopped by the operator" in (report.nodes["kome"].reason or "")


def test_a_bug_in_a_trial_takes_the_node_back_and_is_reported(fleet: ScriptedFleet) -> None:
    def bug() -> None:
        raise ZeroDivisionError("oh")

    fleet.nodes["node-01"].before_apply = bug
    fleet.nodes["node-01"].fail_once["cancel"] = NodeRefused("node-01", "cancel", "no such trial")
    report, _ = push(fleet)
    assert report.nodes["node-01"].outcome == "rolled-back"
    assert "ZeroDivisionError" in (report.nodes["node-01"].reason or "")


OUR_SSH = (
    UsageError("`ssh -G` refuses your SSH configuration: line 3: Bad configuration option"),
    UsageError("`ssh -G` gave no answer in 10 s"),
    NoSshClient("there is no `ssh` program"),
)


@pytest.mark.parametrize("error", OUR_SSH)
def test_an_ssh_of_ours_that_fails_before_the_push_reports_every_node(
    fleet: ScriptedFleet, error: KomeError
) -> None:
    for node in fleet.nodes.values():
        node.fail["stage"] = error
    report, _ = push(fleet)
    assert report.result == "failed"
    assert set(outcomes(report).values()) == {"unreachable"}
    assert {seen.reason for seen in report.nodes.values()} == {str(error)}


@pytest.mark.parametrize("error", OUR_SSH)
def test_an_ssh_of_ours_that_fails_during_a_trial_reports_every_node(
    fleet: ScriptedFleet, error: KomeError
) -> None:
    fleet.topology = fleet.topology.model_copy(
        update={"push": fleet.topology.push.model_copy(update={"trial": "1s"})}
    )
    node = fleet.nodes["node-01"]
    node.fail["confirm"] = node.fail["cancel"] = node.fail["status"] = error
    node.fail_once["cancel"] = NodeRefused("node-01", "cancel", "no such trial")
    report, _ = push(fleet)
    assert outcomes(report)["node-01"] == "unreachable"
    assert error.what in (report.nodes["node-01"].reason or "")
    assert set(outcomes(report).values()) == {"unreachable", "committed", "untouched"}


def test_an_ssh_of_ours_that_fails_for_good_ends_the_asking(fleet: ScriptedFleet) -> None:
    fleet.topology = fleet.topology.model_copy(
        update={"push": fleet.topology.push.model_copy(update={"trial": "1s"})}
    )
    node = fleet.nodes["kome"]
    node.fail["confirm"] = node.fail["cancel"] = OUR_SSH[0]
    report, _ = push(fleet)
    assert outcomes(report)["kome"] == "unreachable"
    assert "goes back by itself" in (report.nodes["kome"].reason or "")


def test_an_ssh_of_ours_that_fails_after_a_refusal_leaves_the_release_unknown(
    fleet: ScriptedFleet,
) -> None:
    fleet.nodes["node-04"].fail["stage"] = NodeRefused("node-04", "stage", "unknown directive")
    fleet.nodes["node-04"].fail["status"] = OUR_SSH[0]
    report, _ = push(fleet)
    assert report.result == "refused"
    assert report.nodes["node-04"].release is None


def back(
    fleet: ScriptedFleet,
    *names: str,
    to: str | None = None,
    accept_drift: bool = False,
    say: Callable[[Progress], None] = lambda _: None,
) -> PushReport:
    return rollback(
        fleet.topology,
        fleet,
        names or tuple(fleet.nodes),
        to=to,
        accept_drift=accept_drift,
        report=say,
        stop=threading.Event(),
    )


def test_rollback_goes_to_the_previous_release(fleet: ScriptedFleet) -> None:
    push(fleet)
    report = back(fleet)
    assert report.result == "ok"
    assert {seen.release for seen in report.nodes.values()} == {FIRST}


def test_a_rollback_names_both_releases(fleet: ScriptedFleet) -> None:
    push(fleet)
    wanted = render_release(fleet.topology, "kome").id
    report = back(fleet, "kome")
    assert report.nodes["kome"].reason == f"back to {FIRST}, from {wanted}"


def test_a_second_rollback_says_that_it_goes_forward(fleet: ScriptedFleet) -> None:
    push(fleet)
    wanted = render_release(fleet.topology, "kome").id
    back(fleet, "kome")
    steps: list[Progress] = []
    report = back(fleet, "kome", say=steps.append)
    forward = (
        f"forward to {wanted}, which the topology asks for, from {FIRST};"
        " also kept, for --to: original"
    )
    assert report.nodes["kome"].reason == forward
    assert forward in [step.text for step in steps if step.step == "connect"]


def test_rollback_over_a_change_by_hand_is_refused_until_it_is_accepted(
    fleet: ScriptedFleet,
) -> None:
    push(fleet)
    fleet.nodes["kome"].drift = True
    report = back(fleet, "kome", "node-01")
    assert outcomes(report) == {"kome": "refused", "node-01": "untouched"}
    assert "--accept-drift" in (report.nodes["kome"].reason or "")
    assert "rollback" not in fleet.nodes["kome"].calls
    assert back(fleet, "kome", accept_drift=True).result == "ok"


def test_a_file_changed_by_hand_is_brought_back_though_it_carries_an_old_id(
    fleet: ScriptedFleet,
) -> None:
    node = fleet.nodes["kome"]
    node.previous, node.answers, node.shows = "dddddddddddd", "bbbbbbbbbbbb", "bbbbbbbbbbbb"
    report = back(fleet, "kome")
    assert outcomes(report) == {"kome": "committed"}
    node.previous, node.shows = "ffffffffffff", "-"
    assert outcomes(back(fleet, "kome")) == {"kome": "committed"}
    node.previous, node.shows = "eeeeeeeeeeee", "cccccccccccc"
    assert outcomes(back(fleet, "kome")) == {"kome": "rolled-back"}


def test_going_back_to_what_is_kept_of_a_changed_file_is_not_degraded(
    fleet: ScriptedFleet,
) -> None:
    """The file that serves was changed by hand, and is the previous release too."""
    node = fleet.nodes["kome"]
    node.drift, node.own_id, node.previous = True, "dddddddddddd", "dddddddddddd"
    node.answers = "bbbbbbbbbbbb"
    report = back(fleet, "kome", accept_drift=True)
    assert outcomes(report) == {"kome": "rolled-back"}


def test_rollback_to_a_release_not_kept_changes_nothing(fleet: ScriptedFleet) -> None:
    push(fleet)
    report = back(fleet, "kome", "node-01", to="cccccccccccc")
    assert report.result == "refused"
    assert "kept are" in (report.nodes["kome"].reason or "")


def test_plan_shows_a_diff_and_a_node_that_cannot_be_asked(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].fail["status"] = SshUnreachable("node-01", "timed out")
    plans = plan(fleet.topology, fleet, ("kome", "node-01"))
    assert plans["kome"].changed
    assert "-# by hand" in plans["kome"].diff
    assert plans["node-01"].drift is None
    assert plans["node-01"].reason == "timed out"
    assert fleet.topology.nodes["kome"].role is Role.FRONTEND


@pytest.mark.parametrize("error", OUR_SSH)
def test_plan_names_an_ssh_of_ours_that_fails_beside_each_node_it_is_about(
    fleet: ScriptedFleet, error: KomeError
) -> None:
    fleet.nodes["node-01"].fail["status"] = error
    plans = plan(fleet.topology, fleet, ("kome", "node-01"))
    assert plans["kome"].changed
    assert plans["node-01"].reason == error.words


def test_plan_says_what_to_do_about_a_node_that_is_not_set_up(fleet: ScriptedFleet) -> None:
    fleet.nodes["node-01"].fail["status"] = NotSetUp("node-01", "no kome-node", hint="set it up")
    assert plan(fleet.topology, fleet, ("node-01",))["node-01"].reason == "no kome-node; set it up"


@pytest.mark.parametrize("error", OUR_SSH)
def test_an_ssh_of_ours_that_fails_while_the_way_back_is_proved_reports_the_host(
    fleet: ScriptedFleet, error: KomeError
) -> None:
    for node in fleet.nodes.values():
        node.live = None
    fleet.nodes["node-01"].fail["stage"] = error
    found = prove_way_back(
        fleet.topology,
        fleet,
        ("node-01", "kome"),
        report=lambda _: None,
        stop=threading.Event(),
    )
    assert {name: seen.outcome for name, seen in found.items()} == {
        "node-01": "unreachable",
        "kome": "untouched",
    }
    assert error.what in (found["node-01"].reason or "")
