"""apply: pure, total, and sparing with lines on the events screen."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kome_tui.reading import Missing, Reading
from kome_tui.release.outcome import NodeOutcome, Progress, PushReport
from kome_tui.signals.readings import Check
from kome_tui.signals.traffic import TrafficWindow
from kome_tui.state import (
    EVENTS_KEPT,
    ConsoleState,
    Diagnosed,
    Event,
    FactsSeen,
    HealthSeen,
    LogEntry,
    Noted,
    ProbeSeen,
    ProbeStarted,
    PushEnded,
    PushStarted,
    PushStep,
    ServiceSeen,
    SshSeen,
    TrafficSeen,
    UpstreamSeen,
    apply,
    evidence_of,
    first_state,
    upstream_state,
)
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.engine import diagnose
from kome_tui.triage.model import OPERATOR, Diagnosis, Finding
from tests.builders_evidence import FRONTEND, NOW, WANTED, a_check, a_probe, a_topology, facts

OKOME = UpstreamName.OKOME
TOPOLOGY = a_topology(("node-01",))


def start() -> ConsoleState:
    return first_state(TOPOLOGY, "topology.yaml", {FRONTEND: WANTED, "node-01": WANTED}, now=NOW)


def after(events: Iterable[Event], state: ConsoleState | None = None) -> ConsoleState:
    state = state or start()
    for event in events:
        state = apply(state, event)
    return state


@pytest.mark.parametrize("live", [None, "original"])
def test_traffic_of_a_node_without_a_release_of_ours_is_unknown_not_zero(
    live: str | None,
) -> None:
    seen = TrafficSeen("node-01", Reading(TrafficWindow("node-01").traffic(NOW), NOW))
    foreign = FactsSeen("node-01", Reading(facts(live=live), NOW))
    ours = FactsSeen("node-01", Reading(facts(live=WANTED), NOW))
    assert "no release of ours" in (
        after([foreign, seen]).nodes["node-01"].traffic.why_missing or ""
    )
    assert after([ours, seen]).nodes["node-01"].traffic.or_none() is not None


def texts(state: ConsoleState) -> list[str]:
    return [f"{entry.level} {entry.subject}: {entry.text}" for entry in state.events]


def okome(short: object, vantage: str = FRONTEND, at: float = NOW) -> UpstreamSeen:
    return UpstreamSeen(OKOME, vantage, Reading(a_check(short), at))


def page(short: object) -> ServiceSeen:
    return ServiceSeen("page", Reading(a_check(short), NOW))


def found(*codes: str) -> Diagnosed:
    findings = tuple(Finding(code, "critical", "okome", "It is so", (), ()) for code in codes)
    return Diagnosed(Reading(Diagnosis("outage" if codes else "healthy", findings), NOW))


def told(node: str = "node-01", **changes: object) -> FactsSeen:
    return FactsSeen(node, Reading(facts(**changes), NOW))


def lost(node: str = "node-01") -> SshSeen:
    return SshSeen(node, Reading("unreachable", NOW), "connection refused")


def test_first_state_knows_nothing() -> None:
    state = start()
    assert state.nodes[FRONTEND].wanted == WANTED
    assert state.nodes[FRONTEND].ssh.or_none() is None
    assert set(state.upstreams[OKOME]) == {OPERATOR, FRONTEND}
    assert diagnose(evidence_of(state)) == Diagnosis("degraded", ())


def test_the_shown_state_is_the_newest_reading() -> None:
    state = after([okome("up"), okome("refused")])
    check = state.upstreams[OKOME][FRONTEND].or_none()
    assert check is not None
    assert check.state == "down"


def test_time_is_the_newest_event_and_never_goes_back() -> None:
    state = after([okome("up", at=NOW + 5), okome("up", at=NOW + 1)])
    assert state.now == NOW + 5


def test_an_unknown_node_is_ignored() -> None:
    state = after([lost("nobody"), told("nobody"), PushStep(NOW, Progress("nobody", "stage", ""))])
    assert set(state.nodes) == {FRONTEND, "node-01"}
    assert state.events == ()


def test_facts_mean_that_ssh_works() -> None:
    state = after([lost(), told()])
    assert state.nodes["node-01"].ssh.or_none() == "ok"
    assert texts(state) == [
        "warning node-01: SSH: connection refused",
        "info node-01: SSH is back",
    ]


def test_without_ssh_what_a_node_said_before_is_missing() -> None:
    node = after([told(), lost()]).nodes["node-01"]
    assert node.facts.why_missing == "no SSH: connection refused"
    assert node.traffic.why_missing == "no SSH: connection refused"


def test_the_first_good_news_is_no_news() -> None:
    assert after([told(), okome("up"), okome("up"), page("up"), page("up")]).events == ()


def test_a_change_is_told_once() -> None:
    state = after([told(), told(nginx="stopped"), told(nginx="stopped"), told()])
    assert texts(state) == [
        "error node-01: nginx has stopped",
        "info node-01: nginx serves again",
    ]


def test_drift_and_a_new_release_are_told() -> None:
    state = after([told(), told(drift=True), told(live="aaaaaaaaaaaa")])
    assert texts(state) == [
        "warning node-01: changed by hand since the last push",
        "info node-01: serves its release unchanged",
        "info node-01: now serves aaaaaaaaaaaa",
    ]


def test_one_slow_answer_makes_no_alarm() -> None:
    assert after([okome("up"), okome("up"), okome("refused"), okome("up")]).events == ()


def test_an_upstream_down_twice_in_a_row_is_told() -> None:
    state = after([okome("up"), okome("up"), okome("refused"), okome("refused"), okome("refused")])
    assert texts(state) == ["error okome: down, seen from kome: refused"]


def test_an_upstream_down_from_two_vantage_points_is_told_at_once() -> None:
    before = [okome("up"), okome("up"), okome("up", OPERATOR)]
    state = after([*before, okome("refused", OPERATOR), okome("refused")])
    assert texts(state) == ["error okome: down, seen from kome: refused"]


def test_a_partition_does_not_flip_the_story() -> None:
    state = after([okome("timeout"), okome("up", OPERATOR)] * 5)
    assert texts(state) == ["error okome: down, seen from kome: timed out after 2 s"]


def test_a_page_that_fails_and_comes_back_is_told() -> None:
    state = after([page("up"), page("up"), page(502), page(502), page("up"), page("up")])
    assert texts(state) == [
        "error kome: the web page fails, seen from this laptop: answered 502",
        "info kome: the web page works, seen from this laptop",
    ]


def test_a_finding_must_be_there_twice_to_be_told() -> None:
    flash = after([found(), found("okome-down"), found()])
    assert flash.events == ()
    state = after([found("okome-down")] * 3 + [found()] * 3)
    assert texts(state) == [
        "error okome: okome-down: It is so",
        "info okome: okome-down is over",
    ]


def test_a_finding_that_comes_again_is_told_again() -> None:
    state = after(([found("okome-down")] * 2 + [found()] * 2) * 2)
    assert len(state.events) == 4


def test_a_push_is_told_from_start_to_end() -> None:
    outcome = NodeOutcome("committed", WANTED, None, 1.0, None)
    report = PushReport("ok", 1.25, {"node-01": outcome})
    events: list[Event] = [
        PushStarted(NOW, ("node-01",), "deploy"),
        PushStep(NOW, Progress("node-01", "stage", "staging")),
        PushStep(NOW, Progress("node-01", "done", "committed", "committed")),
    ]
    running = after(events)
    assert running.pushing == ("node-01",)
    done = after([PushEnded(NOW, report, None)], running)
    assert done.pushing == ()
    assert done.last_push == report
    assert done.nodes["node-01"].progress == events[2].progress  # type: ignore[union-attr]
    assert texts(done) == [
        "info push: Push to node-01 started",
        "info node-01: committed",
        "info push: Push ok in 1.2 s: 1 committed",
    ]


def test_a_new_push_forgets_the_steps_of_the_last() -> None:
    state = after(
        [
            PushStep(NOW, Progress("node-01", "done", "committed", "committed")),
            PushStarted(NOW, (FRONTEND,), "rollback"),
        ]
    )
    assert state.nodes["node-01"].progress is None


def test_a_push_that_failed_as_a_whole_says_why() -> None:
    state = after([PushEnded(NOW, None, "template frontend: no such thing")])
    assert texts(state) == [
        "error push: Push ended without a report: template frontend: no such thing"
    ]


def test_a_probe_runs_and_ends() -> None:
    running = after([ProbeStarted(NOW)])
    assert running.probe_running
    done = after([ProbeSeen(a_probe({"buffering_hop": "frontend"}))], running)
    assert not done.probe_running
    assert texts(done) == ["warning probe: as built"]


def test_events_are_bounded() -> None:
    state = after(
        Noted(LogEntry(NOW, "info", "test", str(number))) for number in range(EVENTS_KEPT + 10)
    )
    assert len(state.events) == EVENTS_KEPT
    assert state.events[-1].text == str(EVENTS_KEPT + 9)


def redis(short: object, vantage: str = FRONTEND) -> UpstreamSeen:
    return UpstreamSeen(UpstreamName.REDIS, vantage, Reading(a_check(short), NOW))


NOT_ALLOWED = UpstreamSeen(
    UpstreamName.REDIS, FRONTEND, Reading(Check("unknown", None, "may not look"), NOW)
)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "unknown"),
        ([redis("up")], "up"),
        ([redis("up", OPERATOR)], "up"),
        ([NOT_ALLOWED, redis("up", OPERATOR)], "up"),
        ([redis("timeout"), redis("up", OPERATOR)], "down"),
        ([redis("timeout"), redis("timeout", OPERATOR)], "down"),
        ([redis("timeout"), redis("timeout", OPERATOR), okome("up")], "unknown"),
        ([redis("timeout"), redis("timeout", OPERATOR), okome("degraded")], "down"),
        ([redis("refused"), redis("refused", OPERATOR), okome("up")], "down"),
    ],
)
def test_an_upstream_in_one_word(events: list[Event], state: str) -> None:
    assert upstream_state(after(events), UpstreamName.REDIS) == state


SHORT = st.sampled_from(["up", "degraded", "refused", "timeout", "unknown", 502, 200])
CHECKS = st.one_of(
    SHORT.map(lambda short: Reading(a_check(short), NOW)),
    st.just(Reading(Missing("not asked"), NOW)),
)
NODES = st.sampled_from([FRONTEND, "node-01", "nobody"])
SSH = st.sampled_from(["ok", "unreachable", "auth-failed", "not-set-up"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(SshSeen, NODES, SSH.map(lambda ssh: Reading(ssh, NOW)), st.none()),
    st.builds(
        FactsSeen,
        NODES,
        st.builds(
            lambda nginx, drift: Reading(facts(nginx=nginx, drift=drift), NOW),
            st.sampled_from(["serving", "stopped", "unknown"]),
            st.booleans(),
        ),
    ),
    st.builds(HealthSeen, NODES, CHECKS),
    st.builds(
        UpstreamSeen,
        st.sampled_from(list(UpstreamName)),
        st.sampled_from([OPERATOR, FRONTEND]),
        CHECKS,
    ),
    st.builds(ServiceSeen, st.sampled_from(["page", "api", "way_around"]), CHECKS),
    st.builds(PushStarted, st.just(NOW), st.just((FRONTEND,)), st.just("deploy")),
    st.builds(PushEnded, st.just(NOW), st.none(), st.just("why")),
    st.sampled_from([found(), found("okome-down"), ProbeStarted(NOW)]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=30))
def test_a_replay_gives_the_same_state_and_always_a_diagnosis(events: list[Event]) -> None:
    state = after(events)
    assert state == after(events)
    assert diagnose(evidence_of(state)).verdict in ("healthy", "degraded", "outage")
    assert set(state.nodes) == {FRONTEND, "node-01"}


def test_commands_in_reasons_are_about_the_fleet_of_the_state() -> None:
    """Pasted as a node's error names them, they would be about another fleet."""
    command = "kome-tui -t /home/me/lab.yaml"
    wanted = {FRONTEND: WANTED, "node-01": WANTED}
    state = first_state(TOPOLOGY, "lab.yaml", wanted, now=NOW, command=command)
    why = "no kome-node; set it up with `kome-tui rebuild node-01`"
    told = why.replace("kome-tui", command)
    missing = Reading(Missing(why), NOW)
    refused = NodeOutcome("refused", None, None, 0.0, why)
    events: tuple[Event, ...] = (
        TrafficSeen("node-01", missing),
        FactsSeen("node-01", missing),
        PushStep(NOW, Progress("node-01", "done", why, "refused")),
        PushEnded(NOW, PushReport("refused", 0.1, {"node-01": refused}), None),
    )
    state = after(events, state)
    node = state.nodes["node-01"]
    assert (node.traffic.why_missing, node.facts.why_missing) == (told, told)
    assert node.progress is not None
    assert node.progress.text == told
    assert state.last_push is not None
    assert state.last_push.nodes["node-01"].reason == told
    state = apply(state, SshSeen("node-01", Reading("host-key-unknown", NOW), why))
    assert state.nodes["node-01"].ssh_reason == told
    assert told in (state.nodes["node-01"].facts.why_missing or "")
    assert not any("`kome-tui rebuild" in entry.text for entry in state.events)
