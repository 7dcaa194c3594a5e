"""Fixtures of the tests on real nginx: each test runs once per nginx program that is here.

`fleet` is one running fleet of every role for all tests of a module: what a test keeps in it must
not matter to the next, so assets have names of their own (fresh()). `run_site` is a fleet of one's
own.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.builders_topology import ROLES
from tests.nginx_process import Build, builds
from tests.nginx_site import Site, site

RunSite = Callable[..., AbstractContextManager[Site]]

_numbers = itertools.count()


def fresh(suffix: str = ".css") -> str:
    """The path of an asset that nobody has asked for yet."""
    return f"/assets/fresh-{next(_numbers)}{suffix}"


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of tests that wait in earnest."""
    config.addinivalue_line("markers", "slow: waits a minute or more, in earnest")


@pytest.fixture(scope="session", params=builds(), ids=str)
def build(request: pytest.FixtureRequest) -> Build:
    """An nginx program."""
    found = request.param
    assert isinstance(found, Build)
    return found


@pytest.fixture(scope="module")
def whole_fleet(tmp_path_factory: pytest.TempPathFactory, build: Build) -> Iterator[Site]:
    """A node of each role, two of cache-stream, in front of one OKOME. Tests use `fleet`."""
    with site(tmp_path_factory.mktemp("fleet"), build, tuple(ROLES)) as running:
        yield running


@pytest.fixture
def fleet(whole_fleet: Site) -> Site:
    """The module's fleet, with OKOME up and its script as it was."""
    whole_fleet.reset()
    return whole_fleet


@pytest.fixture
def run_site(tmp_path: Path, build: Build) -> RunSite:
    """Starts nodes by name, the frontend by default; arguments as in nginx_site.site."""

    def run(*names: str, **more: Any) -> AbstractContextManager[Site]:
        return site(tmp_path, build, names or ("kome",), **more)

    return run
