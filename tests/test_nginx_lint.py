"""Every lint rule fires where it should, stays quiet where it should, and never on our output."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kome_tui.nginx.lint import RULES, lint_conf
from kome_tui.nginx.render import render_all
from tests.builders_topology import ROLES, topology, topology_values

CASES = Path(__file__).parent / "cases" / "lint"


def cases(kind: str) -> list[tuple[str, str]]:
    """(rule, text) of each rule's case; a rule without one is an error, and so is a stray case."""
    names = {rule.code for rule in RULES}
    assert {path.name for path in CASES.iterdir()} == names, "a case for each rule, and no other"
    return [(name, (CASES / name / f"{kind}.conf").read_text()) for name in sorted(names)]


@pytest.mark.parametrize(("rule", "conf"), cases("fires"))
def test_rule_fires(rule: str, conf: str) -> None:
    found = [finding for finding in lint_conf(conf, "a.conf") if finding.rule == rule]

    assert len(found) == 1
    assert found[0].file == "a.conf"
    assert 1 < found[0].line <= conf.count("\n")
    assert found[0].fix


@pytest.mark.parametrize(("rule", "conf"), cases("quiet"))
def test_rule_stays_quiet(rule: str, conf: str) -> None:
    assert rule not in {finding.rule for finding in lint_conf(conf, "a.conf")}


@pytest.mark.parametrize("stream_path", ["okome", "gpu"])
def test_nothing_is_found_in_what_we_render(stream_path: str) -> None:
    values = topology_values(stream_path=stream_path)
    values["nodes"]["node-07"]["draft"] = {"address": "127.0.0.1", "port": 9000}
    values["nodes"]["node-09"]["services"] = {
        "grafana": {"address": "127.0.0.1", "port": 3000, "path": "/grafana/"}
    }
    releases = render_all(topology(**values))

    assert releases.keys() == ROLES.keys()
    for name, release in releases.items():
        assert lint_conf(release.conf, name) == ()


def test_a_site_file_without_http_is_judged_too() -> None:
    site = "server {\n  location / {\n    proxy_pass http://127.0.0.1:1;\n  }\n}\n"

    assert "stream-buffered" in {finding.rule for finding in lint_conf(site, "site")}


@pytest.mark.parametrize("conf", ["http { server {", "}", "a{" * 3000, "location { }", "'"])
def test_what_is_no_configuration_is_one_finding_or_none(conf: str) -> None:
    found = lint_conf(conf, "broken.conf")

    assert [finding.rule for finding in found] in ([], ["syntax"])


def test_a_finding_holds_no_control_characters() -> None:
    found = lint_conf("http { upstream u {\n server a\x1b]52;c;x\x07b:80;\n} }\n", "x")

    assert [finding.rule for finding in found] == ["name-in-upstream"]
    assert found[0].message.isprintable()


WORDS = ["http", "server", "location", "{", "}", ";", " ", "\n", '"', "$", "/v1/", "proxy_pass"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=40).map("".join))
def test_any_text_is_judged_without_an_exception(conf: str) -> None:
    lint_conf(conf, "any")
