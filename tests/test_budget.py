"""What may lie on a node's disk: added up from the topology, refused above the budget."""

import json
from pathlib import Path
from typing import Any

import pytest

from kome_tui.errors import TopologyError
from kome_tui.topology.budget import disk_budget, human
from kome_tui.topology.load import load, packaged_file, parse
from kome_tui.topology.write import to_yaml
from tests.builders_topology import topology, topology_values
from tests.command_line import kome_tui

MIB, GIB = 1024**2, 1024**3


def problems(**over: Any) -> list[tuple[str, str]]:
    """Path and sentence of everything that is wrong with a topology."""
    try:
        parse(to_yaml(topology_values(**over)).encode(), "t")
    except TopologyError as error:
        return [(each.path, each.message) for each in error.problems]
    return []


def test_every_log_counts_as_full_and_uncompressed_eight_times() -> None:
    budget = disk_budget(topology(disk={"log": "10m", "system": "1500m"}), "kome")
    assert budget.logs == 2 * 8 * 10 * MIB
    assert budget.cache == GIB
    assert budget.releases == (5 + 2) * MIB
    assert budget.total == GIB + 160 * MIB + 7 * MIB + 1500 * MIB


def test_a_cache_in_memory_is_not_on_the_disk() -> None:
    found = disk_budget(topology(cache={"size": "200m", "tmpfs": "256m"}), "node-03")
    assert (found.cache, found.memory) == (0, 256 * MIB)
    assert "no cache (256 MiB of memory)" in str(found)


def test_a_node_that_passes_everything_on_has_no_cache() -> None:
    fleet = topology()
    assert disk_budget(fleet, "node-01").cache == 0
    assert disk_budget(fleet, "node-01").total == disk_budget(fleet, "kome").total - GIB


def test_the_shipped_fleet_stays_within_its_budget() -> None:
    fleet = load(packaged_file("topology.yaml"))
    assert all(disk_budget(fleet, name).total < 5_000_000_000 for name in fleet.nodes)


def test_exactly_the_budget_is_allowed_and_a_byte_more_is_not() -> None:
    exact = {"system": "2g", "log": "64m", "budget": f"{4 * 1024 + 7}m"}
    assert problems(disk=exact) == []
    assert [path for path, _ in problems(disk=exact | {"budget": f"{4 * 1024 + 6}m"})] == [
        "cache.size"
    ]


@pytest.mark.parametrize(
    ("over", "path"),
    [
        ({"cache": {"size": "3g"}}, "cache.size"),
        ({"disk": {"log": "300m"}}, "disk.log"),
        ({"disk": {"system": "5g"}}, "disk.system"),
        ({"push": {"keep": 9000}}, "push.keep"),
    ],
)
def test_the_largest_value_that_is_a_choice_is_the_one_to_mend(
    over: dict[str, Any], path: str
) -> None:
    [(where, message)] = problems(**over)
    assert where == path
    assert "5g (disk.budget)" in message


def test_a_node_with_a_size_of_its_own_is_the_one_to_mend() -> None:
    nodes = topology_values()["nodes"]
    nodes["node-03"]["cache_size"] = "3g"
    assert [path for path, _ in problems(nodes=nodes)] == ["nodes.node-03.cache_size"]
    nodes["node-03"] |= {"cache_size": "300m", "cache_tmpfs": "512m"}
    assert problems(nodes=nodes) == []


def test_check_prints_each_budget_once(tmp_path: Path) -> None:
    ran = kome_tui("check", cwd=tmp_path)
    lines = [line for line in ran.out.splitlines() if line.startswith("disk ")]
    assert ran.code == 0
    assert lines == [
        "disk at most 4.1 GiB of 5 GiB: 1 GiB cache, 1 GiB logs, 7 MiB releases, 2 GiB system "
        "(kome, node-03, node-04, node-05, node-06)",
        "disk at most 3.1 GiB of 5 GiB: 1 GiB logs, 7 MiB releases, 2 GiB system "
        "(node-01, node-02, node-07, node-08, node-09, node-10)",
    ]


def test_check_refuses_too_much_with_the_place_of_the_value(tmp_path: Path) -> None:
    text = packaged_file("topology.yaml").read_text().replace("  size: 1g ", "  size: 3g ")
    (tmp_path / "topology.yaml").write_text(text)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if row.startswith("  size: 3g"))
    ran = kome_tui("check", cwd=tmp_path)
    assert ran.code == 2
    assert ran.err.startswith(f"topology.yaml:{line}:9: the disk of kome may come to hold 6.1 GiB")
    assert len(ran.err.splitlines()) == 1


def test_check_json_has_the_bytes_of_every_node(tmp_path: Path) -> None:
    answer = json.loads(kome_tui("check", "--json", cwd=tmp_path).out)
    for budget in answer["disk"].values():
        parts = ("cache_bytes", "logs_bytes", "releases_bytes", "system_bytes")
        assert budget["total_bytes"] == sum(budget[part] for part in parts)
        assert budget["total_bytes"] <= budget["allowed_bytes"] == 5 * GIB
    assert set(answer["disk"]) == set(answer["releases"]) == set(answer["host_files"])


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 KiB"), (1024, "1 KiB"), (1025, "2 KiB"), (1536 * MIB, "1.5 GiB"), (GIB + 1, "1.1 GiB")],
)
def test_a_size_for_people_never_looks_smaller_than_it_is(size: int, text: str) -> None:
    assert human(size) == text
