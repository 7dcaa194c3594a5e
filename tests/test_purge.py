"""purge and rebuild on the practice fleet, as an operator calls them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.topology.load import load
from tests.command_line import Ran, kome_tui
from tests.contract import PushAnswer
from tests.http_client import ask
from tests.lab_fixture import RunningLab, lab_process
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, own_home: Path) -> Iterator[RunningLab]:
    with lab_process(tmp_path_factory.mktemp("purge"), nodes=2, traffic=False) as running:
        yield running


class Fleet:
    def __init__(self, lab: RunningLab, folder: Path) -> None:
        self._options = ("-t", lab.topology, "--ssh-config", lab.ssh_config)
        self._folder = folder

    def run(self, *arguments: str, typed: str | None = None) -> Ran:
        return kome_tui(*self._options, *arguments, cwd=self._folder, typed=typed)


@pytest.fixture
def fleet(lab: RunningLab, tmp_path: Path) -> Fleet:
    made = Fleet(lab, tmp_path)
    assert made.run("deploy").code == 0
    return made


def cached(lab: RunningLab, *paths: str) -> list[str]:
    """X-Cache of each path at the frontend, asked twice: the second time it should be there."""
    port = load(lab.topology).http_of("kome").port
    for path in paths:
        wait_until(lambda path=path: ask(port, path).status == 200)
    return [ask(port, path).cache for path in paths]


def now_cached(lab: RunningLab, path: str) -> str:
    return ask(load(lab.topology).http_of("kome").port, path).cache


def test_one_path_is_taken_out_of_the_cache(fleet: Fleet, lab: RunningLab) -> None:
    mine, other = "/ui-schema/chat.json", "/ui-schema/chat.json?v=2"
    assert cached(lab, mine, other) == ["HIT", "HIT"]
    ran = fleet.run("purge", "kome", mine)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"kome: {mine}: 1 file removed\n"
    assert now_cached(lab, mine) == "MISS"
    assert now_cached(lab, other) == "HIT"


def test_a_whole_cache_is_emptied_once_somebody_has_said_so(fleet: Fleet, lab: RunningLab) -> None:
    path = "/ui-schema/chat.json"
    assert cached(lab, path) == ["HIT"]
    refused = fleet.run("purge", "kome")
    assert (refused.code, refused.out) == (3, "")
    assert "add --yes" in refused.err
    assert now_cached(lab, path) == "HIT"
    ran = fleet.run("purge", "kome", "--yes")
    assert ran.code == 0
    assert ran.out.startswith("kome: the whole cache: ")
    assert now_cached(lab, path) == "MISS"


@pytest.mark.parametrize("path", ["assets", "/a b", "/\x1b[2J", "/é", "/" + "a" * 5000])
def test_what_is_no_request_target_is_a_usage_error(fleet: Fleet, path: str) -> None:
    ran = fleet.run("purge", "kome", path)
    assert (ran.code, ran.out) == (2, "")
    assert "\x1b" not in ran.err


def test_an_unknown_node_is_a_usage_error(fleet: Fleet) -> None:
    assert fleet.run("purge", "nobody", "--yes").code == 2


def test_a_practice_node_is_set_up_already(fleet: Fleet) -> None:
    ran = fleet.run("rebuild", "kome", "--yes", "--json")
    answer = PushAnswer.model_validate_json(ran.out)
    assert (ran.code, answer.nodes["kome"].outcome) == (0, "unchanged"), ran.err
    assert "is a node already" in ran.err
    assert "rebuild" not in fleet.run("plan").out


def test_a_practice_node_is_no_host_to_set_up(fleet: Fleet) -> None:
    ran = fleet.run("rebuild", "kome", "--yes", "--json", "--bootstrap-user", "root")
    answer = PushAnswer.model_validate_json(ran.out)
    assert (ran.code, answer.nodes["kome"].outcome) == (3, "refused"), ran.err
    assert "sets up no other host" in (answer.nodes["kome"].reason or "")
