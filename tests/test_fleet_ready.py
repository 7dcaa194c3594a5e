"""A script that is started ahead of a push, against a real SSH server: used once, never a trap."""

import asyncio
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.deploy.sshd import servers
from kome_tui.errors import NodeTimeout
from kome_tui.fleet.fleet import Fleet
from tests.fleet_site import Site, keygen, topology_at
from tests.host_programs import needs
from tests.ssh_server import SshServer, listener
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


OLD_LAYOUT = """
printf 'kome-node 1 ready\\nend ok\\n'
echo $$ >>FOLDER/pids
IFS= read -r request
printf 'kome-node 1 stage\\ndigest aaaaaaaaaaaa\\nend refused rebuild the node\\n'
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


@contextmanager
def resetting(site: Site) -> Iterator[threading.Event]:
    """A way to the server that, once the event is set, answers the next packet with a reset."""
    cut = threading.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", behind)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while block := await source.read(65536):
                if source is reader and cut.is_set():
                    cut.clear()
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    break
                sink.write(block)
            sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)
        finally:
            back.close()
            writer.close()

    behind = site.server.port
    with listener(relay) as port:
        with site.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{port} {site.public(site.host_key)}\n")
        site.server.port = port
        try:
            yield cut
        finally:
            site.server.port = behind


def node(site: Site, script: str) -> None:
    site.answer(script.replace("FOLDER", str(site.folder)))


def stage(fleet: Fleet) -> bool:
    """Whether the node took the release."""
    return not fleet.node("front").stage("0123456789ab", b"user x;\n").unchanged


def has_said_so(fleet: Fleet) -> bool:
    """The word of the script that waits has come as far as us."""
    kept = fleet._slots["front"].ready._kept
    return kept is not None and kept[0]._channel.recv_ready()


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


def test_script_that_does_not_know_it_is_not_started_again_and_again(
    site: Site, fleet: Fleet
) -> None:
    def is_over() -> bool:
        kept = fleet._slots["front"].ready._kept
        return kept is None or kept[0].ended

    node(site, OLDER)
    for _ in range(3):  # as with every frame of facts
        fleet.node("front").make_ready()
        wait_until(is_over)
    assert len(site.server.commands) == 1


def test_script_from_before_a_rebuild_is_passed_over_where_it_refuses(
    site: Site, fleet: Fleet
) -> None:
    """It knows the layout of its time."""
    node(site, OLD_LAYOUT)
    fleet.node("front").make_ready()
    wait_until((site.folder / "pids").exists)
    node(site, NODE)  # `kome-tui rebuild` in another terminal
    assert stage(fleet)


@pytest.mark.parametrize("ahead", [False, True])
def test_connection_that_a_write_finds_dead_is_made_anew(site: Site, ahead: bool) -> None:
    """As after a power cut of the node that nobody has noticed yet."""
    node(site, NODE)
    with resetting(site) as relay, site.fleet() as fleet:
        fleet.connect("front")
        if ahead:
            fleet.node("front").make_ready()
            wait_until((site.folder / "pids").exists)
        relay.set()
        assert stage(fleet)


@pytest.mark.parametrize("ahead", [False, True])
def test_slow_node_has_the_time_of_a_stage(site: Site, fleet: Fleet, ahead: bool) -> None:
    """3 s for its first word where the connect timeout is 2 s."""
    node(site, f"sleep 3\n{NODE}")
    if ahead:
        fleet.node("front").make_ready()
    assert stage(fleet)


@needs("sshd", "ssh-keygen")
def test_session_is_given_up_where_sshd_allows_no_more(site: Site, tmp_path: Path) -> None:
    """MaxSessions: the verbs that cannot wait come first, and then nothing is started ahead."""
    node(site, NODE)
    with servers(tmp_path / "sshd", ["front"], sessions=1) as real:
        topology = topology_at(real.ports, str(site.script), user=real.user)
        with Fleet(topology, real.config) as fleet:
            fleet.node("front").make_ready()
            wait_until((site.folder / "pids").exists)
            assert fleet.node("front").apply("a", "t", 30).on_trial
            fleet.node("front").make_ready()
    assert len(pids(site)) == 2


@needs("sshd", "ssh-keygen")
def test_pushes_find_a_session_where_sshd_allows_few(site: Site, tmp_path: Path) -> None:
    """Facts, the log and what waits take all three there are, push after push."""
    node(site, NODE)
    with servers(tmp_path / "sshd", ["front"], sessions=3) as real:
        topology = topology_at(real.ports, str(site.script), user=real.user)
        with Fleet(topology, real.config) as fleet:
            front = fleet.node("front")
            streams = [front.facts(2.0), front.follow(None, 0)]
            for _ in range(4):
                front.make_ready()
                assert stage(fleet)
                assert front.apply("a", "t", 30).on_trial
                front.hang_up()
                assert stage(fleet)
                front.hang_up()
            for stream in streams:
                stream.close()


@needs("sshd", "ssh-keygen")
def test_script_that_is_just_being_started_gives_its_session_up(site: Site, tmp_path: Path) -> None:
    node(site, NODE)
    with servers(tmp_path / "sshd", ["front"], sessions=1) as real:
        topology = topology_at(real.ports, str(site.script), user=real.user)
        with Fleet(topology, real.config) as fleet:
            fleet.connect("front")
            starting = threading.Thread(target=fleet.node("front").make_ready)
            starting.start()
            assert stage(fleet)
            starting.join(10)


def test_script_that_hangs_alone_is_passed_over(site: Site, fleet: Fleet) -> None:
    """Where the node itself gives signs of life."""
    node(site, DEAF_LATER)
    fleet.node("front").make_ready()
    wait_until(lambda: has_said_so(fleet))
    node(site, NODE)
    talk = fleet._connected("front").start("while :; do echo; sleep 0.2; done", b"")
    assert stage(fleet)
    talk.close()


def test_node_that_hangs_since_costs_the_connect_timeout(site: Site, fleet: Fleet) -> None:
    node(site, DEAF_LATER)
    fleet.node("front").make_ready()
    wait_until(lambda: has_said_so(fleet))
    with pytest.raises(NodeTimeout, match="its script has said nothing in 2 s"):
        stage(fleet)


def test_closing_the_fleet_ends_it_on_the_node(site: Site) -> None:
    node(site, NODE)
    with site.fleet() as fleet:
        fleet.node("front").make_ready()
        wait_until((site.folder / "pids").exists)
    wait_until((site.folder / "left").exists)
