"""What `status` says to people."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kome_tui.cli.watch import _show_status
from kome_tui.session import status_json
from kome_tui.state import ConsoleState
from tests.builders_state import WANTED, a_node, facts, healthy_state, troubled_state


def lines_of(state: ConsoleState, capsys: pytest.CaptureFixture[str]) -> Mapping[str, str]:
    answer: Mapping[str, Any] = status_json(state)
    _show_status(answer)
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}


def test_a_release_that_nobody_could_ask_for_is_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = lines_of(troubled_state(), capsys)
    assert "release unknown: no SSH connection: connection refused" in said["node-04"]
    assert "no release of ours" not in said["node-04"]


def test_a_node_with_a_configuration_of_its_own_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    state = healthy_state()
    bare = a_node("node-01", facts=facts(live=None))
    said = lines_of(replace(state, nodes={**state.nodes, "node-01": bare}), capsys)
    assert "no release of ours" in said["node-01"]
    assert WANTED in said["node-02"]


def test_a_hit_rate_names_its_window(capsys: pytest.CaptureFixture[str]) -> None:
    assert "92% hits in 15 min" in lines_of(healthy_state(), capsys)["node-01"]
