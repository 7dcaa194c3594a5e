"""The fixtures: a LAN per test module. A module that needs other machines makes a Lan itself.

Without root on Linux, or where this computer can't have machines, these tests are skipped; the
reason is printed once. Starting a LAN takes seconds: lan.reset() between tests, where they need it.
"""

from collections.abc import Iterator

import pytest

from tests.machines.image import Image, Unavailable, machine_image
from tests.machines.lan import Lan
from tests.machines.machine import Machine, MachineSpec
from tests.machines.node import set_up_node

_LIMIT_S = 300
_FIRST_LIMIT_S = 1200  # the first test of a computer waits for the images to be built


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests on machines the time that starting those takes on a busy computer."""
    first = True
    for item in items:
        if "machines" in getattr(item, "fixturenames", ()):
            item.add_marker(
                pytest.mark.timeout(_FIRST_LIMIT_S if first else _LIMIT_S), append=False
            )
            first = False


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
