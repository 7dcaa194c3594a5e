"""One sample for the command line, and its JSON."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kome_tui.errors import (
    HostKeyUnknown,
    KomeError,
    NoSshClient,
    NotSetUp,
    ProtocolError,
    SshUnreachable,
    UsageError,
)
from kome_tui.nginx.render import render_release
from kome_tui.session import sample_once, status_json
from kome_tui.state import ConsoleState, evidence_of
from kome_tui.triage.engine import diagnose
from tests.builders_evidence import facts
from tests.waiting import wait_until
from tests.watched_fleet import Site, a_site


@pytest.fixture
def site() -> Iterator[Site]:
    with a_site() as found:
        for name, node in found.fleet.nodes.items():
            node.facts_now = facts(live=render_release(found.topology, name).id)
        yield found
        found.fleet.close()
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("kome-")])


def sample(site: Site, **more: Any) -> ConsoleState:
    given = {"deadline_s": 4.0, "probe_tokens": None} | more
    return sample_once(site.topology, "topology.yaml", site.fleet, **given)


def status(site: Site, **more: Any) -> Any:
    return json.loads(json.dumps(status_json(sample(site, **more))))


def codes(state: ConsoleState) -> list[str]:
    return [finding.code for finding in diagnose(evidence_of(state)).findings]


def test_a_healthy_fleet_is_healthy(site: Site) -> None:
    assert codes(sample(site)) == []


def test_a_sample_of_a_fleet_that_answers_takes_no_time(site: Site) -> None:
    began = time.monotonic()
    sample(site)
    assert time.monotonic() - began < 2.0


def test_the_json_follows_the_contract(site: Site) -> None:
    answer = status(site)
    assert set(answer) == {"taken_at", "nodes", "upstreams"}
    node = answer["nodes"]["node-01"]
    assert set(node) == {
        "role",
        "address",
        "ssh",
        "nginx",
        "release",
        "cache",
        "requests_per_s",
        "errors_5xx",
        "connections",
        "disk_free_bytes",
        "missing",
    }
    assert (node["role"], node["ssh"], node["nginx"]) == ("ingress", "ok", "serving")
    assert node["release"]["live"] == node["release"]["wanted"]
    assert node["release"]["drift"] is False
    assert node["cache"] == {
        "hit_rate": None,
        "hits": 0,
        "misses": 0,
        "other": 0,
        "window_s": 900,
        "why": "no cacheable request in 15 min",
        "size_bytes": 1_000_000,
        "files": 20,
    }
    assert node["missing"] == {"cache.hit_rate": "no cacheable request in 15 min"}
    assert set(answer["upstreams"]) == {"okome", "vllm", "ollama", "tf-rest", "tf-grpc", "redis"}
    okome = answer["upstreams"]["okome"]
    assert okome["state"] == "up"
    assert set(okome["from"]) == {"operator", "kome"}
    assert set(okome["from"]["kome"]) == {"state", "latency_ms", "reason"}
    assert okome["from"]["kome"]["latency_ms"] > 0


def test_every_null_has_its_reason(site: Site) -> None:
    site.fleet.nodes["node-01"].ssh_error = SshUnreachable("node-01", "connection refused")
    node = status(site)["nodes"]["node-01"]
    assert node["ssh"] == "unreachable"
    assert node["nginx"] == "serving"
    nulls = {
        f"{group}.{name}" if group else name
        for group, values in (("", node), ("release", node["release"]), ("cache", node["cache"]))
        for name, value in values.items()
        if value is None
    }
    assert nulls
    assert nulls <= set(node["missing"])
    assert node["missing"]["release.live"] == "no SSH: connection refused"
    assert node["missing"]["ssh"] == "connection refused"


def test_hits_are_counted_from_the_log_that_exists(site: Site) -> None:
    site.fleet.nodes["node-01"].log = b"".join(
        _line(time.time() - age_s, cache)
        for age_s, cache in ((10, "HIT"), (20, "HIT"), (30, "MISS"), (2000, "MISS"))
    )
    cache = status(site)["nodes"]["node-01"]["cache"]
    assert (cache["hits"], cache["misses"], cache["why"]) == (2, 1, None)
    assert cache["hit_rate"] == pytest.approx(2 / 3, abs=0.001)


def _line(at: float, cache: str) -> bytes:
    took, asked = "0.001", "127.0.0.1:8000"
    line = (f"{at:.3f}", "node-01", cache, "200", took, took, asked, "120", "r1", "GET", "10.0.0.9")
    return "\t".join((*line, "/assets/app.js", "curl")).encode() + b"\n"


def test_a_node_never_set_up_has_ssh(site: Site) -> None:
    site.fleet.nodes["node-01"].facts_error = NotSetUp("node-01", "it has no kome-node")
    state = sample(site)
    assert codes(state) == ["not-set-up"]
    node = status_json(state)["nodes"]["node-01"]  # type: ignore[index]
    assert node["ssh"] == "ok"
    assert node["missing"]["ssh"] == "it has no kome-node"


def test_an_unknown_host_key_is_told_by_its_name(site: Site) -> None:
    error = HostKeyUnknown("node-01", "ssh-ed25519", "SHA256:abc")
    site.fleet.nodes["node-01"].ssh_error = error
    assert status(site)["nodes"]["node-01"]["ssh"] == "host-key-unknown"


@pytest.mark.parametrize(
    "error",
    [
        NoSshClient("there is no ssh program here"),
        UsageError("`ssh -G` refuses your SSH configuration: no such file"),
    ],
)
def test_without_an_ssh_of_ours_nothing_is_healthy_and_no_node_is_blamed(
    site: Site, error: KomeError
) -> None:
    for node in site.fleet.nodes.values():
        node.ssh_error = error
    state = sample(site)
    diagnosis = diagnose(evidence_of(state))
    assert diagnosis.verdict == "degraded"
    assert [finding.code for finding in diagnosis.findings] == ["ssh-client-failed"]
    assert [seen.seen for seen in diagnosis.findings[0].evidence] == [error.what]
    answer = json.loads(json.dumps(status_json(state)))
    assert answer["nodes"]["kome"]["ssh"] == "unreachable"  # the contract has no better word
    assert answer["nodes"]["kome"]["missing"]["ssh"] == error.what
    assert answer["upstreams"]["okome"]["state"] == "up"
    assert answer["upstreams"]["okome"]["from"]["kome"]["reason"] == "no SSH to kome"


def test_a_log_that_cannot_be_read_costs_only_its_numbers(site: Site) -> None:
    node = site.fleet.nodes["node-01"]

    def read_log(tail_bytes: int) -> bytes:
        raise ProtocolError("node-01", "readlog: nonsense")

    node.read_log = read_log  # type: ignore[method-assign]
    answer = status(site)["nodes"]["node-01"]
    assert answer["cache"]["why"] == "readlog: nonsense"
    assert answer["cache"]["hits"] is None
    assert answer["connections"] == 3


def test_silent_hosts_do_not_stop_a_sample(site: Site) -> None:
    site.fleet.hangs |= {"kome", "node-01"}
    began = time.monotonic()
    state = sample(site, deadline_s=1.0)
    assert time.monotonic() - began < 1.5
    assert state.nodes["kome"].ssh.or_none() == "unreachable"
    assert state.nodes["kome"].ssh_reason == "no answer within 1 s"
    answer = status_json(state)["upstreams"]
    assert answer["okome"]["from"]["kome"]["state"] == "unknown"  # type: ignore[index]
    assert codes(state) == ["ssh-unreachable", "ssh-unreachable"]


def test_a_sample_says_how_its_fleet_is_named(site: Site) -> None:
    site.fleet.nodes["node-01"].facts_error = NotSetUp("node-01", "it has no kome-node")
    state = sample(site, command="kome-tui -t /x/topology.yaml")
    finding = diagnose(evidence_of(state)).findings[0]
    assert finding.actions[0].command == "kome-tui -t /x/topology.yaml rebuild node-01"


def test_a_short_probe_is_part_of_the_sample(site: Site) -> None:
    state = sample(site, probe_tokens=8)
    assert state.probe.or_none() is not None


def test_okome_down_is_found_from_both_sides(site: Site) -> None:
    site.okome.close()
    site.okome.close = lambda: None  # type: ignore[method-assign]
    site.edge["kome"].answers |= {"/": (502, b""), "/v1/models": (502, b"")}
    state = sample(site)
    assert codes(state) == ["okome-down"]
    finding = diagnose(evidence_of(state)).findings[0]
    assert {seen.source for seen in finding.evidence} >= {
        "okome from this laptop",
        "okome from kome",
    }
    assert finding.cause_of == ("page-failing", "api-failing")
