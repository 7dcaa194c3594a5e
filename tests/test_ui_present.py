"""What the screens say, without a screen."""

from dataclasses import replace

import pytest

from kome_tui.reading import Missing, Reading
from kome_tui.release.outcome import NodeOutcome, Progress, PushReport
from kome_tui.signals.readings import HitCounts
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.model import OPERATOR, Action
from kome_tui.ui.ink import joined, plain
from kome_tui.ui.present import events, fleet, push, release, stream, triage, upstreams, words
from tests.builders_state import (
    BEHIND,
    NOW,
    WANTED,
    a_check,
    a_failed_stream,
    a_node,
    a_probe,
    a_stream,
    facts,
    healthy_state,
    new_state,
    okome_down,
    traffic,
    troubled_state,
    up,
)
from tests.fake_session import a_plan


def test_no_request_is_not_zero_percent() -> None:
    cell = fleet.hit_cell(HitCounts(0, 0, 12, 60.0))
    assert cell.text == "–"
    assert cell.why == "no cacheable request in 60 s"


def test_a_push_that_would_cut_answers_asks() -> None:
    state = healthy_state()
    short = state.topology.timeouts.model_copy(update={"shutdown": "60s"})
    hasty = replace(state, topology=state.topology.model_copy(update={"timeouts": short}))

    asked = push.question(hasty, ("node-01",))

    assert asked is not None
    assert "node-01 cuts answers that run on 60s" in joined(asked.text)
    assert push.question(state, ("node-01",)) is None


def test_hit_rate_shows_its_sample() -> None:
    assert fleet.hit_cell(HitCounts(312, 28, 5, 60.0)).text == "92 % of 340"


def test_a_hundred_percent_is_never_rounded_up_to() -> None:
    assert fleet.hit_cell(HitCounts(9999, 1, 0, 60.0)).text == "99 % of 10000"
    assert fleet.hit_cell(HitCounts(10, 0, 0, 60.0)).text == "100 % of 10"


def test_unmeasured_node_has_no_empty_cell_and_a_reason_for_every_dash() -> None:
    state = new_state()
    cells = fleet.row(state.nodes["node-01"], False, NOW)
    for key, cell in cells.items():
        if key == "mark":
            continue
        assert cell.text.strip(), key
        assert cell.text != "0", key
        assert cell.text != "–" or cell.why, key


def test_reasons_stand_in_the_detail_once() -> None:
    shown = joined(fleet.detail(troubled_state().nodes["node-04"], NOW))
    assert shown.count("no SSH connection: connection refused") == 1
    assert "node-04" in shown


def test_old_readings_show_their_age() -> None:
    node = troubled_state().nodes["node-09"]
    assert fleet.row(node, False, NOW)["age"].text == "42 s"
    assert "facts 42 s ago" in joined(fleet.detail(node, NOW))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "in sync"),
        ({"live": BEHIND}, "behind"),
        ({"drift": True}, "drifted"),
        ({"live": None}, "not ours"),
        ({"live": "original"}, "original"),
    ],
)
def test_release_in_one_word(changes: dict[str, object], word: str) -> None:
    assert fleet.release_cell(a_node("node-01", facts=facts(**changes))).text == word


def test_release_of_a_node_that_does_not_render() -> None:
    node = a_node("node-01", wanted=None)
    assert fleet.row(node, False, NOW)["wanted"].why


def test_filter_takes_name_or_role() -> None:
    state = healthy_state()
    assert fleet.nodes_matching(state, "gpu") == ("node-07", "node-08")
    assert fleet.nodes_matching(state, "CACHE 04") == ("node-04",)
    assert len(fleet.nodes_matching(state, "")) == 11


def test_label_counts_the_nodes() -> None:
    state = healthy_state()
    assert push.push_label(state, ()) == "Push all 11 nodes"
    assert push.push_label(state, {"node-01", "node-02", "node-03"}) == "Push 3 nodes"
    assert push.push_label(state, {"node-01"}) == "Push 1 node"


def test_marks_of_nodes_that_are_gone_do_not_count() -> None:
    assert push.chosen(healthy_state(), {"node-99"}) == tuple(healthy_state().nodes)


def test_an_ordinary_push_asks_nothing() -> None:
    state = healthy_state()
    assert push.question(state, tuple(state.nodes)) is None


def test_drift_is_named_and_asked() -> None:
    asked = push.question(troubled_state(), ("node-01", "node-02"))
    assert asked is not None
    assert asked.nodes == ("node-01", "node-02")
    assert asked.drifted == ("node-02",)
    assert asked.yes == "Push 2 nodes"
    assert "node-02" in joined(asked.text)


def test_a_node_never_set_up_is_left_out() -> None:
    asked = push.question(troubled_state(), ("node-01", "node-06"))
    assert asked is not None
    assert asked.nodes == ("node-01",)
    assert "kome-tui rebuild node-06" in joined(asked.text)


def test_setting_up_is_a_command_about_this_fleet() -> None:
    state = replace(troubled_state(), command="kome-tui -t /home/me/lab.yaml")
    asked = push.question(state, ("node-06",))
    assert asked is not None
    assert "kome-tui -t /home/me/lab.yaml rebuild node-06" in joined(asked.text)


def test_only_nodes_never_set_up_leaves_nothing_to_push() -> None:
    asked = push.question(troubled_state(), ("node-06",))
    assert asked is not None
    assert asked.nodes == ()
    assert asked.yes == ""


def test_progress_in_words() -> None:
    assert push.progress_cell(Progress("node-01", "prove", "asks")).text == "proving"
    assert push.progress_cell(Progress("node-01", "done", "", "rolled-back")).text == "rolled back"
    assert push.progress_cell(None).text == "·"


def test_summary_counts_outcomes() -> None:
    nodes = {
        "node-01": NodeOutcome("committed", WANTED, BEHIND, 1.0, None),
        "node-02": NodeOutcome("rolled-back", BEHIND, BEHIND, 2.0, "no answer on port 80"),
    }
    report = PushReport("failed", 2.5, nodes)
    assert plain(push.summary(report)) == "failed in 2.5 s: 1 committed, 1 rolled back"
    assert "no answer on port 80" in joined(push.reasons(report))
    assert push.ended(report, None)[1] == "error"
    assert "no key" in push.ended(None, "no key")[0]


def test_upstream_panel_fits_its_width() -> None:
    for state in (new_state(), healthy_state(), troubled_state()):
        for width, two in ((78, True), (98, True), (198, False)):
            shown = upstreams.panel(state, width, two)
            assert {len(plain(one)) for one in shown} == {width}


def test_upstream_panel_tells_both_vantage_points_apart() -> None:
    state = healthy_state()
    views = {OPERATOR: up(2.0), "frontend": Reading(a_check("down", None, "timed out"), NOW)}
    state = replace(state, upstreams={**state.upstreams, UpstreamName.OKOME: views})
    shown = joined(upstreams.panel(state, 150, False))
    assert "frontend down: timed out" in shown
    assert "here up 2.0 ms" in shown


def test_way_around_is_offered_only_after_it_answered_lately() -> None:
    state = healthy_state()
    assert triage.may_open(state, NOW)
    assert not triage.may_open(state, NOW + 3600)
    assert not triage.may_open(troubled_state(), NOW)
    assert not triage.may_open(new_state(), NOW)
    assert upstreams.way_around_url(state) == "http://127.0.0.1:8000"


def test_finding_shows_evidence_guidance_and_keys() -> None:
    shown = joined(triage.detail(troubled_state(), okome_down()))
    assert "4 s ago" in shown
    assert "1. Start OKOME again" in shown
    assert "Explains" in shown
    assert "down, tried 2 s ago: connection refused" in shown


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("kome-tui deploy node-01", "r"),
        ("kome-tui -t lab/topology.yaml triage", "t"),
        ("kome-tui trust node-01", None),
        ("", None),
    ],
)
def test_action_names_its_key(command: str, key: str | None) -> None:
    assert triage.key_of(Action("do it", command)) == key


def test_stream_rows_have_the_gzip_line() -> None:
    rows = stream.rows(a_probe())
    assert list(rows) == [
        "gpu",
        "gpu gzip",
        "okome",
        "okome gzip",
        "frontend",
        "frontend gzip",
    ]
    assert rows["frontend"]["word"].text == "steady"
    assert rows["frontend gzip"]["word"].text == "clumped"


def test_failed_stream_shows_dashes_with_its_error() -> None:
    result = a_probe()
    failed = replace(result.paths[0], plain=a_failed_stream())
    cells = stream.rows(replace(result, paths=(failed,)))["gpu"]
    assert cells["word"].text == "failed"
    assert cells["ttft"].text == "–"
    assert cells["p50"].why == "502 Bad Gateway"


def test_strip_shows_clumps_as_peaks_and_a_steady_stream_as_a_line() -> None:
    last = 1_000_000_000
    steady = stream.binned(a_stream().arrivals_ns, 20, last)
    clumped = stream.binned(a_stream(cluster=12).arrivals_ns, 20, last)
    assert sum(steady) == sum(clumped) == 48
    assert stream.strip(clumped, 12).count("█") == 4
    assert "█" not in stream.strip(steady, 12)
    assert " " not in stream.strip(steady, 12).strip()


def test_strips_without_any_token() -> None:
    result = a_probe()
    path = replace(result.paths[0], plain=a_failed_stream())
    assert "No token" in joined(stream.strips(replace(result, paths=(path,)), 60))


def test_verdict_says_why_there_is_no_probe() -> None:
    state = new_state(probe=Reading(Missing("not measured yet"), 0.0))
    assert "Press p" in plain(stream.verdict(state))
    assert "Measuring" in plain(stream.verdict(replace(state, probe_running=True)))


def test_diff_is_cleaned_line_by_line() -> None:
    shown = release.diff("node-01", a_plan(diff="+\tuser \x1b[2J;\n-old [/x]"))
    assert joined(shown) == "+   user \\x1b[2J;\n-old [/x]"


def test_plan_without_change_and_without_answer() -> None:
    assert "nothing" in joined(release.diff("node-01", a_plan(changed=False)))
    assert "refused" in joined(release.diff("node-01", a_plan(reason="refused")))
    assert "No plan" in joined(release.diff("node-01", None))


def test_requests_are_merged_by_time() -> None:
    state = healthy_state()
    shown = events.requests(state, "")
    times = [plain(one)[:8] for one in shown]
    assert times == sorted(times)
    assert len(events.requests(state, "node-03")) == len(traffic().value.recent)  # type: ignore[union-attr]


def test_a_request_faster_than_the_log_can_tell_is_not_shown_as_zero() -> None:
    reading = traffic()
    assert not isinstance(reading.value, Missing)
    quick = replace(reading.value.recent[0], seconds=0.0)
    seen = Reading(replace(reading.value, recent=(quick,)), NOW)
    state = new_state(nodes={"node-01": a_node("node-01", traffic=seen)})
    assert "< 1 ms" in joined(events.requests(state, ""))


def test_log_filter_needs_every_word() -> None:
    state = healthy_state()
    assert len(events.log(state.events, "attempt node-01")) == 20
    assert events.log(state.events, "attempt node-02") == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (12, "12 s"), (119, "119 s"), (180, "3 min"), (7300, "2 h"), (200_000, "2 d")],
)
def test_ages(seconds: float, text: str) -> None:
    assert words.age(seconds) == text


def test_small_words() -> None:
    assert words.milliseconds(0.42) == "0.4 ms"
    assert words.milliseconds(1500) == "1.5 s"
    assert words.size(48_000_000) == "48 MB"
    assert words.listed(("a", "b", "c")) == "a, b and c"
    assert words.listed(tuple("abcdefgh"), 3) == "a, b, c and 5 more"
    assert words.cut("abcdef", 4) == "abc…"
