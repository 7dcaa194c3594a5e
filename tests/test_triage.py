"""Evidence in, codes out. The cases are files: tests/cases/triage/CODE/{fires,quiet}-NAME.json."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from kome_tui.reading import Missing, Reading
from kome_tui.triage.catalogue import CATALOGUE, ORDER, RANK, explains
from kome_tui.triage.engine import diagnose, to_json
from kome_tui.triage.model import Diagnosis, Finding
from tests.builders_evidence import FRONTEND, NOW, OKOME_URL, a_topology, evidence

CASES = Path(__file__).parent / "cases" / "triage"
FILES = sorted(CASES.glob("*/*.json"))
FIRST_EIGHT = (
    "frontend-unreachable",
    "nginx-down",
    "okome-down",
    "partition-frontend-okome",
    "redis-down",
    "vllm-down",
    "stream-buffered",
    "config-drift",
)
INDEPENDENT = (
    "okome-down/fires-refused",
    "edge-unreachable/fires-one-node",
    "config-drift/fires-one-node",
)


def _case(path: Path) -> dict[str, Any]:
    case = json.loads(path.read_text())
    assert isinstance(case, dict)
    return case


def _of(path: str) -> Diagnosis:
    return diagnose(evidence(_case(CASES / f"{path}.json")["seen"]))


def _codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case(path: Path) -> None:
    case = _case(path)
    diagnosis = diagnose(evidence(case["seen"]))
    assert _codes(diagnosis) == case["codes"], case["about"]
    assert diagnosis.verdict == case["verdict"]
    if case["codes"]:
        assert sorted(diagnosis.findings[0].cause_of) == sorted(case.get("explains", []))
    fires = path.stem.startswith("fires-")
    assert (path.parent.name in _codes(diagnosis)) == fires


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_has_a_case_that_fires_it_and_one_that_does_not(code: str) -> None:
    kinds = {path.stem.partition("-")[0] for path in (CASES / code).glob("*.json")}
    assert kinds == {"fires", "quiet"}


def test_no_case_is_about_a_code_that_does_not_exist() -> None:
    assert {path.parent.name for path in FILES} == set(CATALOGUE)


@pytest.mark.parametrize("code", FIRST_EIGHT)
def test_the_root_cause_stands_first(code: str) -> None:
    fires = [path for path in FILES if path.parent.name == code and path.stem.startswith("fires")]
    first = [_codes(_of(f"{code}/{path.stem}"))[0] for path in fires]
    assert first.count(code) >= 1
    assert set(first) <= {code, "config-drift"}


def test_every_code_has_its_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(CATALOGUE)
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_code_explains_only_codes_below_it(code: str) -> None:
    """Else following causes upwards might never end."""
    assert all(RANK[code] < RANK[other] for other in explains(code))


def test_a_healthy_fleet_has_no_findings() -> None:
    assert diagnose(evidence()) == Diagnosis("healthy", ())


def test_the_same_evidence_gives_the_same_diagnosis() -> None:
    seen = _case(CASES / "okome-down/fires-refused.json")["seen"]
    assert diagnose(evidence(seen)) == diagnose(evidence(seen))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_case_stays_true_whatever_else_was_not_measured(path: Path) -> None:
    """Taking one reading away never adds a new kind of fault about it."""
    whole = evidence(_case(path)["seen"])
    before = set(_codes(diagnose(whole)))
    hidden = {code for finding in diagnose(whole).findings for code in finding.cause_of}
    for name in ("page", "api", "way_around", "probe"):
        less = replace(whole, **{name: Reading(Missing("not asked"), 0.0)})
        assert set(_codes(diagnose(less))) <= before | hidden


def _texts(finding: Finding) -> str:
    return " ".join((finding.title, *finding.guidance, *(a.command for a in finding.actions)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_findings_are_whole(path: Path) -> None:
    for finding in diagnose(evidence(_case(path)["seen"])).findings:
        assert finding.evidence, finding.code
        assert finding.guidance, finding.code
        assert "{" not in _texts(finding)
        assert all(line == line.strip() and line for line in finding.guidance)
        assert all(seen.at > 0 for seen in finding.evidence)


def test_guidance_names_the_way_around_when_it_was_tried_and_answered() -> None:
    finding = _of("nginx-down/fires-stopped-on-frontend").findings[0]
    assert finding.guidance[0] == (
        f"People can work on meanwhile: open {OKOME_URL} in the browser, which is OKOME itself"
        " (tried 2 s ago from this laptop: 200 in 12 ms)."
    )
    assert f"open {OKOME_URL}" in [action.command for action in finding.actions]


def test_guidance_says_when_the_way_around_does_not_answer_either() -> None:
    finding = _of("okome-down/fires-refused").findings[0]
    assert (
        f"There is no way around now: {OKOME_URL} did not answer either"
        " (tried 2 s ago from this laptop: refused)."
    ) in finding.guidance
    assert not any(action.command.startswith("open") for action in finding.actions)


def test_guidance_does_not_offer_a_way_around_that_was_not_tried() -> None:
    seen = _case(CASES / "nginx-down/fires-stopped-on-frontend.json")["seen"]
    finding = diagnose(evidence({**seen, "way_around": "missing"})).findings[0]
    assert "could not be tried from this laptop: not asked" in finding.guidance[0]
    assert not any(action.command.startswith("open") for action in finding.actions)


def test_a_fault_of_an_edge_node_sends_nobody_around() -> None:
    finding = _of("nginx-down/fires-edge-node").findings[0]
    assert finding.severity == "warning"
    assert OKOME_URL not in _texts(finding)


def test_actions_are_commands_of_the_command_line() -> None:
    finding = _of("nginx-down/fires-stopped-on-frontend").findings[0]
    assert (finding.actions[0].name, finding.actions[0].command) == (
        "Redeploy kome",
        "kome-tui deploy kome",
    )


NAMED = "kome-tui -t '/x y/topology.yaml' --ssh-config /x/ssh_config"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_command_names_the_fleet_it_is_about(path: Path) -> None:
    """Pasted in another folder, a bare `kome-tui deploy` would push to whatever is there."""
    told = replace(evidence(_case(path)["seen"]), command=NAMED)
    for finding in diagnose(told).findings:
        rest = f"{_texts(finding)} {' '.join(piece.seen for piece in finding.evidence)}"
        assert "kome-tui" not in rest.replace(NAMED, "")


def test_a_command_inside_a_reason_names_the_fleet_too() -> None:
    reason = "its host key is not known; compare it on the node, then `kome-tui trust node-01`"
    seen = {"node-01": {"ssh": "host-key-unknown", "ssh_reason": reason}}
    finding = diagnose(replace(evidence(seen), command=NAMED)).findings[0]
    assert f"`{NAMED} trust node-01`" in finding.evidence[0].seen
    assert finding.actions[0].command == f"{NAMED} trust node-01"


@pytest.mark.parametrize(("root", "sudo"), [("sudo", "sudo "), ("none", "")])
def test_commands_for_the_node_use_sudo_only_where_the_node_does(root: str, sudo: str) -> None:
    layout = {"root": root, "log": "/var/log/nginx"}
    seen = {"node-02": {"facts": {"nginx": "stopped"}, "health": "refused"}}
    finding = diagnose(evidence({**seen, "topology": {"layout": layout}})).findings[0]
    texts = " ".join(finding.guidance)
    assert f"read why: {sudo}tail -n 20 /var/log/nginx/error.log" in texts
    assert f"start it there: {sudo}systemctl" in texts
    assert texts.count("sudo") == (3 if sudo else 0)


def test_a_machine_that_refuses_is_not_sent_to_for_its_cable() -> None:
    refused = _of("frontend-unreachable/fires-refused").findings[0]
    assert refused.title == "kome refuses SSH and HTTP alike, and people come in through it"
    assert "cable" not in " ".join(refused.guidance)
    silent = _of("frontend-unreachable/fires-power-cut").findings[0]
    assert silent.title == "kome is off the network, and people come in through it"
    assert "network cable" in " ".join(silent.guidance)


def test_the_edge_is_cleared_only_where_it_was_seen_to_answer() -> None:
    cleared = _of("okome-down/fires-refused").findings[0]
    assert "The edge is not at fault" in cleared.guidance[0]
    for case in ("okome-down/fires-beside-a-dead-edge", "operator-offline/quiet-all-refused"):
        finding = next(each for each in _of(case).findings if each.code == "okome-down")
        assert "The edge is not at fault" not in " ".join(finding.guidance)
        assert not [seen for seen in finding.evidence if "through" in seen.source]


def test_a_slow_stream_shows_what_it_was_decided_on() -> None:
    finding = _of("stream-slow/fires-frontend").findings[0]
    assert finding.title == (
        "kome makes streams slower: first token after 900 ms, and 40 ms at okome"
    )
    assert "first token 900 ms" in finding.evidence[0].seen
    assert "first token 40 ms" in finding.evidence[1].seen


def test_no_key_is_told_once_for_the_whole_fleet() -> None:
    reason = "we have no key for kome@192.168.86.41:22; ssh-add it"
    names = tuple(f"node-{number:02}" for number in range(1, 11))
    seen = {"all nodes": {"ssh": "auth-failed", "ssh_reason": reason}}
    (finding,) = diagnose(evidence(seen, a_topology(names))).findings
    assert (finding.code, finding.subject) == ("ssh-no-key", "operator")
    assert "ssh-add FILE" in finding.guidance[0]
    assert len(finding.evidence) == 3


def test_nothing_known_is_never_healthy() -> None:
    seen = {"all nodes": {"ssh": "missing"}, "okome": {"kome": "missing"}}
    assert diagnose(evidence(seen)) == Diagnosis("degraded", ())


def test_the_root_carries_the_evidence_of_what_it_explains() -> None:
    finding = _of("okome-down/fires-refused").findings[0]
    assert {seen.source for seen in finding.evidence} >= {
        "okome from this laptop",
        f"okome from {FRONTEND}",
        f"web page through {FRONTEND}",
        f"API through {FRONTEND}",
    }


def test_eleven_unknown_host_keys_are_two_findings() -> None:
    names = tuple(f"node-{number:02}" for number in range(1, 11))
    topology = a_topology(names)
    diagnosis = diagnose(evidence({"all nodes": {"ssh": "host-key-unknown"}}, topology))
    assert [finding.subject for finding in diagnosis.findings] == [FRONTEND, "10 nodes"]
    assert diagnosis.findings[1].actions[0].command == f"kome-tui trust {' '.join(names)}"


@pytest.mark.parametrize(("one", "other"), list(permutations(INDEPENDENT, 2)))
def test_two_faults_are_both_found(one: str, other: str) -> None:
    seen = _case(CASES / f"{other}.json")["seen"] | _case(CASES / f"{one}.json")["seen"]
    codes = _codes(diagnose(evidence(seen)))
    assert {one.partition("/")[0], other.partition("/")[0]} <= set(codes)


def test_json_follows_the_contract() -> None:
    answer = to_json(_of("okome-down/fires-refused"), 1.23456)
    assert set(answer) == {"verdict", "seconds", "findings"}
    assert answer["seconds"] == 1.235
    findings = answer["findings"]
    assert isinstance(findings, list)
    assert set(findings[0]) == {
        "code",
        "severity",
        "subject",
        "title",
        "evidence",
        "guidance",
        "actions",
        "cause_of",
    }
    assert findings[0]["evidence"][0] == {
        "source": "okome from this laptop",
        "seen": "refused",
        "at": "2027-01-15T07:59:58.000+00:00",
    }
    assert json.loads(json.dumps(answer)) == answer
    assert NOW == 1_800_000_000.0


def test_a_cause_is_as_bad_as_the_worst_it_explains() -> None:
    drift = {"kome": {"facts": {"drift": True}}}
    assert diagnose(evidence(drift)).findings[0].severity == "warning"
    assert diagnose(evidence({**drift, "page": 502})).findings[0].severity == "critical"
