"""A script that is started ahead of a push, against a real SSH server: used once, never a trap."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.errors import NodeTimeout
from kome_tui.fleet.fleet import Fleet
from tests.fleet_site import Site, keygen
from tests.ssh_server import SshServer
from tests.waiting import wait_until

STAGED = "kome-node 1 stage\\nlive -\\ndrift no\\nunchanged no\\ntrial -\\nend ok\\n"
NODE = f"""
echo $$ >>FOLDER/pids
while :; do
    case $request in
        *ready*) printf 'kome-node 1 ready\\nend ok\\n' ;;
        *stage*) head -c 8 >/dev/null; printf '{STAGED}' ;;
        *) printf 'kome-node 1 apply\\nlive a\\nend ok\\n' ;;
    esac
    IFS= read -r request || {{ echo left >FOLDER/left; exit; }}
done
"""
OLDER = f"""
case $request in
    *ready*) printf 'kome-node 1 ready\\nend usage unknown verb\\n'; exit 1 ;;
    *) head -c 8 >/dev/null; printf '{STAGED}' ;;
esac
"""
DEAF_LATER = """
printf 'kome-node 1 ready\\nend ok\\n'
while IFS= read -r request; do :; done
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    keygen(folder / "host")
    keygen(folder / "user")
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    return folder


@pytest.fixture
def site(keys: Path, tmp_path: Path) -> Iterator[Site]:
    server = SshServer([keys / "host"], keys / "authorized")
    made = Site(tmp_path, server, keys / "user", keys / "host")
    made.know()
    yield made
    made.server.close()


@pytest.fixture
def fleet(site: Site) -> Iterator[Fleet]:
    with site.fleet() as opened:
        yield opened


def node(site: Site, script: str) -> None:
    site.answer(script.replace("FOLDER", str(site.folder)))


def stage(fleet: Fleet) -> bool:
    """Whether the node took the release."""
    return not fleet.node("front").stage("0123456789ab", b"user x;\n").unchanged


def pids(site: Site) -> list[int]:
    return [int(line) for line in (site.folder / "pids").read_text().split()]


def test_stage_and_what_follows_ask_the_script_that_waits(site: Site, fleet: Fleet) -> None:
    node(site, NODE)
    fleet.node("front").make_ready()
    assert stage(fleet)
    assert fleet.node("front").apply("a", "t", 30).on_trial
    assert len(site.server.commands) == 1


def test_only_one_waits_and_a_push_uses_it_up(site: Site, fleet: Fleet) -> None:
    node(site, NODE)
    for _ in range(3):
        fleet.node("front").make_ready()
    assert stage(fleet)
    fleet.node("front").hang_up()
    assert stage(fleet)
    assert len(site.server.commands) == 2


def test_next_one_is_started_after_a_push(site: Site, fleet: Fleet) -> None:
    node(site, NODE)
    for _ in range(2):
        fleet.node("front").make_ready()
        assert stage(fleet)
    assert len(site.server.commands) == 2


def test_one_that_has_died_is_passed_over(site: Site, fleet: Fleet) -> None:
    node(site, NODE)
    fleet.node("front").make_ready()
    pid = wait_until(lambda: (site.folder / "pids").exists() and pids(site))[0]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not site.server.running())
    assert stage(fleet)
    assert len(site.server.commands) == 2


def test_connection_that_was_lost_since_is_made_anew(site: Site, fleet: Fleet) -> None:
    node(site, NODE)
    fleet.node("front").make_ready()
    site.server.drop_connections()
    assert stage(fleet)


def test_script_that_does_not_know_it_is_started_as_ever(site: Site, fleet: Fleet) -> None:
    node(site, OLDER)
    fleet.node("front").make_ready()
    assert stage(fleet)
    assert len(site.server.commands) == 2


def test_node_that_hangs_since_costs_the_connect_timeout(site: Site, fleet: Fleet) -> None:
    node(site, DEAF_LATER)
    fleet.node("front").make_ready()
    with pytest.raises(NodeTimeout, match="its script has said nothing in 2 s"):
        stage(fleet)


def test_node_that_hung_at_once_costs_the_connect_timeout(site: Site, fleet: Fleet) -> None:
    node(site, "while IFS= read -r request; do :; done")
    fleet.node("front").make_ready()
    with pytest.raises(NodeTimeout, match="its script has said nothing in 2 s"):
        stage(fleet)


def test_closing_the_fleet_ends_it_on_the_node(site: Site) -> None:
    node(site, NODE)
    with site.fleet() as fleet:
        fleet.node("front").make_ready()
        wait_until((site.folder / "pids").exists)
    wait_until((site.folder / "left").exists)
