"""The fixtures: a LAN per test module. A module that needs other machines makes a Lan itself.

Without root on Linux, or where this computer can't have machines, these tests are skipped, and the
reason is printed. Starting a LAN takes seconds: lan.reset() between tests, where they need it.
"""

from collections.abc import Iterator

import pytest

from tests.machines.image import Image, Unavailable, check_this_computer, machine_image
from tests.machines.lan import Lan
from tests.machines.machine import Machine, MachineSpec
from tests.machines.node import set_up_node

_LIMIT_S = 300
_FIRST_LIMIT_S = 1200  # the first test of a computer waits for the images to be built


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests on machines time, or skip them here: marked so, a file's are one printed line."""
    on_machines = [item for item in items if "machines" in getattr(item, "fixturenames", ())]
    if not on_machines:
        return
    try:
        check_this_computer()
    except Unavailable as reason:
        for item in on_machines:
            item.add_marker(pytest.mark.skip(reason=f"no machines: {reason}"))
        return
    for item in on_machines:
        limit_s = _FIRST_LIMIT_S if item is on_machines[0] else _LIMIT_S
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit_s))


@pytest.fixture(scope="session")
def machines() -> Iterator[Image]:
    """The disks that machines start from; skips where this computer can't have machines."""
    try:
        with machine_image() as image:
            yield image
    except Unavailable as reason:
        pytest.skip(f"no machines: {reason}")


@pytest.fixture(scope="module")
def bare_lan(machines: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """All 11 machines with sshd and sudo only, and the services."""
    with Lan(machines, tmp_path_factory.mktemp("lan")) as lan:
        yield lan


@pytest.fixture(scope="module")
def serving_lan(machines: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """All 11 machines as nodes that were set up and got no release yet, and the services.

    `lan.reset()` goes back to that.
    """
    with Lan(machines, tmp_path_factory.mktemp("lan"), spec=MachineSpec("serving")) as lan:
        _set_up(lan)
        yield lan


@pytest.fixture(scope="module")
def small_lan(machines: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """The same with two machines: the frontend and one edge node."""
    names = ("kome", "node-03")
    with Lan(machines, tmp_path_factory.mktemp("lan"), names, spec=MachineSpec("serving")) as lan:
        _set_up(lan)
        yield lan


def _set_up(lan: Lan) -> None:
    def make(machine: Machine) -> None:
        set_up_node(machine, lan.topology)
        machine.keep()
        machine.boot()

    lan.each(make)
