"""A node's verbs and the fleet, against a real SSH server and scripts that answer like a node."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kome_tui.errors import (
    FleetError,
    HostKeyUnknown,
    NodeBusy,
    NodeRefused,
    NodeTimeout,
    NotSetUp,
    ProtocolError,
    SshUnreachable,
)
from kome_tui.fleet import client as client_module
from kome_tui.fleet.answers import Applied, Decided, LogChunk, Staged
from kome_tui.fleet.fleet import Fleet
from kome_tui.topology.model import Endpoint
from tests.fleet_site import Site, keygen, ssh_threads, topology_at
from tests.ssh_server import SshServer, listener
from tests.waiting import wait_until

STATUS = """
live 0123456789ab
running 0123456789ab
previous -
nginx serving
drift no
trial -
last committed 0123456789ab
version 1.22.1
script 1
kept 0123456789ab original
disk_free 1048576
inodes_free -
busy -
"""
FRAME = """
live 0123456789ab
drift no
nginx serving
connections 3
cpu_ticks {ticks}
clock_ticks_per_s 100
uptime_s {uptime}
memory 52428800
cache_bytes 0
cache_files -
disk_free 1000
old_workers 0
frame
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


def says(site: Site, verb: str, answer: str, after: str = "") -> None:
    """The node answers `answer` to any request, once it has read all of it."""
    text = f"kome-node 1 {verb}\n{answer.lstrip()}"
    site.answer(
        f'printf %s "$request" >{site.folder}/request\n'
        f'size=${{request##*size=}}; [ "$size" != "$request" ] || size=0\n'
        f'head -c "${{size%% *}}" >{site.folder}/payload\n'
        f"cat <<'ANSWER'\n{text}ANSWER\n{after}"
    )


def asked(site: Site) -> str:
    return (site.folder / "request").read_text()


def test_stage_sends_the_file_with_its_length_and_digest(site: Site, fleet: Fleet) -> None:
    says(site, "stage", "live -\ndrift yes\nunchanged no\ntrial -\nend ok\n")
    conf = b"user x;\n" * 5000
    assert fleet.node("front").stage("0123456789ab", conf) == Staged(None, True, False, None)
    assert asked(site).startswith("kome/1 stage id=0123456789ab size=40000 sha256=")
    assert (site.folder / "payload").read_bytes() == conf
    assert site.server.commands == [f"exec /bin/sh {site.script}"]


CONVERSATION = """
while :; do
    case $request in
        *stage*) head -c 8 >/dev/null
            printf 'kome-node 1 stage\\nlive -\\ndrift no\\nunchanged no\\ntrial -\\nend ok\\n' ;;
        *apply*) printf 'kome-node 1 apply\\nlive a\\nend ok\\n' ;;
        *) printf 'kome-node 1 confirm\\ndecision confirmed\\nlive a\\nend ok\\n' && exit ;;
    esac
    IFS= read -r request || { echo left >FOLDER/left; exit; }
done
"""


def test_a_push_is_one_exec(site: Site, fleet: Fleet) -> None:
    site.answer(CONVERSATION.replace("FOLDER", str(site.folder)))
    node = fleet.node("front")
    assert not node.stage("0123456789ab", b"user x;\n").unchanged
    assert fleet.node("front").apply("a", "t", 30).on_trial
    assert node.confirm("t").decision == "confirmed"
    assert len(site.server.commands) == 1


def test_hanging_up_ends_the_script_that_waits(site: Site, fleet: Fleet) -> None:
    site.answer(CONVERSATION.replace("FOLDER", str(site.folder)))
    fleet.node("front").stage("0123456789ab", b"user x;\n")
    fleet.node("front").hang_up()
    wait_until((site.folder / "left").exists)


def test_next_step_after_the_waiting_script_has_gone_is_a_new_exec(
    site: Site, fleet: Fleet
) -> None:
    site.answer(CONVERSATION.partition("    IFS=")[0] + "    exit\ndone")
    node = fleet.node("front")
    node.stage("0123456789ab", b"user x;\n")
    waiting = node._waiting._remote
    assert waiting is not None
    wait_until(lambda: waiting.ended)
    assert node.apply("a", "t", 30).on_trial
    assert len(site.server.commands) == 2


def test_with_sudo_the_script_is_run_by_sudo_alone(site: Site) -> None:
    topology = site.topology()
    layout = topology.layout.model_copy(update={"root": "sudo", "script": "/opt/kome-node"})
    topology = topology.model_copy(update={"layout": layout})
    with Fleet(topology, site.config()) as fleet, pytest.raises(NotSetUp):
        fleet.node("front").status()
    assert site.server.commands == ["exec env LC_ALL=C sudo -n /opt/kome-node"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("live a\ntrial a\nreason -\nend ok\n", Applied(True, "a", None)),
        ("live b\ntrial -\nreason x\nend rolled-back no proof\n", Applied(False, "b", "no proof")),
        ("live b\ntrial -\nreason why\nend rolled-back\n", Applied(False, "b", "why")),
        ("live -\nend degraded half\n", Applied(False, None, "half", degraded=True)),
    ],
)
def test_apply(site: Site, fleet: Fleet, answer: str, expected: Applied) -> None:
    says(site, "apply", answer)
    assert fleet.node("front").apply("a", "token", 29.2) == expected
    assert asked(site).startswith("kome/1 apply id=a token=token trial=30 by=")


def test_rollback_to_the_previous_release(site: Site, fleet: Fleet) -> None:
    says(site, "rollback", "live a\ntrial a\nreason -\nend ok\n")
    assert fleet.node("front").rollback(None, "t", 30).on_trial
    assert asked(site).startswith("kome/1 rollback to=- token=t trial=30 by=")


@pytest.mark.parametrize(
    ("verb", "answer", "expected"),
    [
        (
            "confirm",
            "decision confirmed\nlive a\ndegraded no\nreason -\nend ok\n",
            Decided("confirmed", "a", False, None),
        ),
        (
            "confirm",
            "decision rolled-back\nlive b\ndegraded no\nreason -\nend rolled-back too late\n",
            Decided("rolled-back", "b", False, "too late"),
        ),
        ("cancel", "live b\nend rolled-back\n", Decided("rolled-back", "b", False, None)),
        (
            "recover",
            "decision -\nlive a\ndegraded yes\nreason disk\nend degraded\n",
            Decided(None, "a", True, "disk"),
        ),
    ],
)
def test_decisions(site: Site, fleet: Fleet, verb: str, answer: str, expected: Decided) -> None:
    says(site, verb, answer)
    node = fleet.node("front")
    ask = {"confirm": lambda: node.confirm("t"), "cancel": lambda: node.cancel("t")}
    assert ask.get(verb, node.recover)() == expected


def test_status(site: Site, fleet: Fleet) -> None:
    says(site, "status", f"{STATUS}end ok\n")
    status = fleet.node("front").status()
    assert (status.live, status.previous, status.nginx) == ("0123456789ab", None, "serving")
    assert status.kept == ("0123456789ab", "original")
    assert (status.disk_free_bytes, status.inodes_free) == (1048576, None)
    assert (status.last, status.busy, status.script_version) == ("committed 0123456789ab", None, 1)


def test_live_conf_and_log_come_byte_for_byte(site: Site, fleet: Fleet) -> None:
    says(site, "live", "data conf 0 0 10\na\nend ok\nb\nend ok\n")
    assert fleet.node("front").live_conf() == b"a\nend ok\nb"
    says(site, "readlog", "data log 5 100 4\none\n\ndata log 6 0 3\ntwo\nend ok\n")
    assert fleet.node("front").read_log(1000) == b"one\ntwo"
    assert asked(site) == "kome/1 readlog bytes=1000"


@pytest.mark.parametrize("login", ["émile", "-rf", ".hidden", "ö"])
def test_whoever_pushes_has_a_name_that_the_script_takes(
    site: Site, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setenv("LOGNAME", login)
    says(site, "apply", "live a\nend ok\n")
    fleet.node("front").apply("a", "t", 30)
    by = asked(site).partition(" by=")[2].split()[0]
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._:/-]*", by), by


def test_busy_says_who(site: Site, fleet: Fleet) -> None:
    says(site, "status", "end busy marta:laptop since 12 s\n")
    with pytest.raises(NodeBusy, match="busy: marta:laptop since 12 s"):
        fleet.node("front").status()


@pytest.mark.parametrize("code", ["refused", "failed", "usage"])
def test_a_refusal_carries_the_nodes_reason(site: Site, fleet: Fleet, code: str) -> None:
    says(site, "status", f"end {code} no \x1b[2J room\n", "exit 1")
    with pytest.raises(NodeRefused, match=r"status refused: no \\x1b\[2J room"):
        fleet.node("front").status()


def test_a_refusal_without_a_reason_takes_standard_error(site: Site, fleet: Fleet) -> None:
    site.answer("cat >/dev/null; echo 'df: gone' >&2; echo kome-node 1 status; echo end failed")
    with pytest.raises(NodeRefused, match="df: gone"):
        fleet.node("front").status()


def test_a_node_without_the_script_is_not_set_up(fleet: Fleet) -> None:
    with pytest.raises(NotSetUp, match="kome-tui rebuild front"):
        fleet.node("front").status()


@pytest.mark.parametrize(
    "answer",
    [
        "echo 'sudo: a password is required' >&2; exit 1",
        "echo 'Sorry, user kome is not allowed to execute this' >&2; exit 1",
        "exit 127",
        "exit 126",
    ],
)
def test_a_script_we_may_not_run_is_not_set_up(site: Site, fleet: Fleet, answer: str) -> None:
    site.answer(answer)
    with pytest.raises(NotSetUp):
        fleet.node("front").status()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("echo Welcome to the machine", "got: Welcome to the machine"),
        ("printf Welcome", "it answered: Welcome"),
        ("echo 'oops: broken' >&2; exit 3", r"answered nothing \(exit status 3\): oops: broken"),
        ("echo kome-node 1 status; echo live a; echo x >&2; exit 4", r"ended \(4\) in the middle"),
        ("echo kome-node 1 status; kill -9 $$", "in the middle of its answer"),
        ("echo kome-node 1 status; echo live a; echo end ok", "is missing"),
        ("echo kome-node 1 status; printf 'data x 0 0 5\\nabcdefgh'", "not followed by a newline"),
        ("printf 'kome-node 1 status\\n\\033]0;x\\007\\n'", r"not a line of the protocol: \\x1b"),
    ],
)
def test_anything_else_is_a_protocol_error(
    site: Site, fleet: Fleet, answer: str, expected: str
) -> None:
    site.answer(answer)
    with pytest.raises(ProtocolError, match=expected) as caught:
        fleet.node("front").status()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "bad",
    [
        ("nginx serving", "nginx fine"),
        ("drift no", "drift maybe"),
        ("script 1", "script -"),
        ("disk_free 1048576", "disk_free lots"),
        ("disk_free 1048576", "disk_free ١"),
        ("disk_free 1048576", "disk_free 9e99"),
    ],
)
def test_a_value_that_cannot_be_is_a_protocol_error(
    site: Site, fleet: Fleet, bad: tuple[str, str]
) -> None:
    says(site, "status", f"{STATUS.replace(*bad)}end ok\n")
    with pytest.raises(ProtocolError):
        fleet.node("front").status()


def test_a_node_that_does_not_finish_is_a_timeout(
    site: Site, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "READ_S", 0.4)
    site.answer("echo kome-node 1 status; sleep 60")
    with pytest.raises(NodeTimeout, match="status: did not finish in time"):
        fleet.node("front").status()


def test_an_endless_answer_ends(site: Site, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "READ_S", 0.5)
    site.answer("echo kome-node 1 status; while :; do echo live a; done")
    started = time.monotonic()
    with pytest.raises(NodeTimeout):
        fleet.node("front").status()
    assert time.monotonic() - started < 3


def test_an_answer_that_grows_too_long_is_refused(
    site: Site, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_LIMIT", 100_000)
    site.answer("echo kome-node 1 status; while :; do echo live a; done")
    with pytest.raises(ProtocolError, match="more than 100000 bytes"):
        fleet.node("front").status()


def test_a_lost_connection_says_that_the_outcome_is_not_known(site: Site, fleet: Fleet) -> None:
    site.answer("echo kome-node 1 apply; sleep 60")
    cut = threading.Thread(
        target=lambda: (
            wait_until(lambda: site.server.running() == 1),
            site.server.drop_connections(),
        )
    )
    cut.start()
    with pytest.raises(SshUnreachable, match="outcome is not known"):
        fleet.node("front").apply("a", "t", 30)
    cut.join()


def test_facts_measure_cpu_between_frames(site: Site, fleet: Fleet) -> None:
    frames = "".join(
        FRAME.format(ticks=ticks, uptime=uptime).lstrip()
        for ticks, uptime in ((100, "10.00"), (125, "12.50"), (5, "15.00"), ("-", "17.50"))
    )
    says_and_waits(site, "facts", frames)
    with fleet.node("front").facts(2.5) as facts:
        taken = [next(facts) for _ in range(4)]
        assert [frame.cpu_percent for frame in taken] == [None, 10.0, None, None]
        assert taken[0].connections == 3
        assert taken[0].cache_files is None
        assert taken[0].memory_bytes == 52428800
    assert asked(site) == "kome/1 facts interval=3"
    wait_until(lambda: site.server.running() == 0)


def says_and_waits(site: Site, verb: str, answer: str) -> None:
    """The node answers, then waits for the end of its input, as a stream does."""
    site.answer(
        f'printf %s "$request" >{site.folder}/request\n'
        f"cat <<'ANSWER'\nkome-node 1 {verb}\n{answer}ANSWER\ncat >/dev/null"
    )


def test_follow_gives_chunks_and_no_ticks(site: Site, fleet: Fleet) -> None:
    says_and_waits(site, "follow", "tick\ndata log 7 10 3\na\nb\ntick\ndata log 8 0 1\nc\n")
    log = fleet.node("front").follow(7, 10)
    assert [next(log), next(log)] == [LogChunk(7, 10, b"a\nb"), LogChunk(8, 0, b"c")]
    assert asked(site) == "kome/1 follow inode=7 offset=10"
    log.close()
    assert list(log) == []
    wait_until(lambda: site.server.running() == 0)


def test_a_follow_is_closed_from_another_thread(site: Site, fleet: Fleet) -> None:
    says_and_waits(site, "follow", "tick\n")
    log = fleet.node("front").follow(None, 0)
    threading.Timer(0.2, log.close).start()
    assert list(log) == []
    assert asked(site) == "kome/1 follow inode=- offset=0"


def test_a_stream_that_falls_silent_is_a_timeout(
    site: Site, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "TICK_LIMIT_S", 0.3)
    says_and_waits(site, "follow", "tick\n")
    with fleet.node("front").follow(None, 0) as log, pytest.raises(NodeTimeout):
        next(log)
    wait_until(lambda: site.server.running() == 0)


def test_a_stream_that_ends_by_itself_is_an_error(site: Site, fleet: Fleet) -> None:
    says(site, "follow", "end refused no such log\n")
    site.answer("echo kome-node 1 follow; echo end refused no such log")
    with fleet.node("front").follow(None, 0) as log, pytest.raises(NodeRefused, match="no such"):
        next(log)


def test_a_stream_ends_with_an_error_when_the_link_is_cut(site: Site, fleet: Fleet) -> None:
    says_and_waits(site, "follow", "data log 1 0 1\nx\n")
    log = fleet.node("front").follow(None, 0)
    next(log)
    site.server.drop_connections()
    with pytest.raises(SshUnreachable):
        next(log)


def test_a_connection_is_opened_once_and_kept(site: Site, fleet: Fleet) -> None:
    says(site, "status", f"{STATUS}end ok\n")
    threads = [threading.Thread(target=fleet.node("front").status) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert site.server.logins == 1
    assert len(site.server.commands) == 8


def test_a_lost_connection_is_reopened_by_the_next_use(site: Site, fleet: Fleet) -> None:
    says(site, "status", f"{STATUS}end ok\n")
    fleet.node("front").status()
    site.server.drop_connections()
    assert fleet.node("front").status().nginx == "serving"
    assert site.server.logins == 2


def test_a_restarted_server_is_found_again(site: Site, keys: Path) -> None:
    says(site, "status", f"{STATUS}end ok\n")
    with site.fleet() as fleet:
        fleet.node("front").status()
        port = site.server.port
        site.server.close()
        wait_until(lambda: _fails(fleet))
        site.server = SshServer([keys / "host"], keys / "authorized", port)
        assert fleet.node("front").status().nginx == "serving"


def _fails(fleet: Fleet) -> bool:
    try:
        fleet.node("front").status()
    except SshUnreachable:
        return True
    return False


def test_eleven_nodes_at_once(site: Site) -> None:
    says(site, "status", f"{STATUS}end ok\n")
    names = ("front", *(f"node-{number:02}" for number in range(1, 11)))
    answers: list[str] = []
    with site.fleet(names) as fleet:
        threads = [
            threading.Thread(target=lambda n=name: answers.append(fleet.node(n).status().nginx))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == ["serving"] * 11
        assert site.server.logins == 11
    wait_until(lambda: not ssh_threads())
    wait_until(lambda: site.server.connections() == 0)


def test_waiting_threads_share_one_failed_attempt(site: Site) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    errors: list[FleetError] = []

    def use(fleet: Fleet) -> None:
        try:
            fleet.connect("front")
        except FleetError as error:
            errors.append(error)

    with listener(silent) as port:
        topology = topology_at({"front": port}, connect_timeout="1s")
        with Fleet(topology, site.config()) as fleet:
            started = time.monotonic()
            threads = [threading.Thread(target=use, args=(fleet,)) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert len(errors) == 5
            assert time.monotonic() - started < 2.5


def test_closing_ends_a_connection_that_is_being_made(site: Site) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read(-1)

    connected = threading.Event()
    errors: list[FleetError] = []

    def use() -> None:
        try:
            fleet.connect("front")
        except FleetError as error:
            errors.append(error)

    with listener(silent) as port:
        fleet = Fleet(topology_at({"front": port}, connect_timeout="30s"), site.config())
        thread = threading.Thread(target=use)
        thread.start()
        assert connected.wait(5)
        started = time.monotonic()
        fleet.close()
        thread.join(5)
        assert time.monotonic() - started < 3
    assert isinstance(errors[0], SshUnreachable)


def test_a_closed_fleet_opens_nothing(site: Site) -> None:
    fleet = site.fleet()
    fleet.close()
    with pytest.raises(SshUnreachable, match="closed"):
        fleet.node("front").status()
    assert site.server.connections() == 0


def test_closing_ends_streams(site: Site) -> None:
    says_and_waits(site, "follow", "tick\n")
    fleet = site.fleet()
    log = fleet.node("front").follow(None, 0)
    threading.Timer(0.2, fleet.close).start()
    with pytest.raises(SshUnreachable):
        list(log)


def test_tcp_from_a_node_reconnects_too(site: Site, fleet: Fleet) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    with listener(hello) as port:
        endpoint = Endpoint(address="127.0.0.1", port=port)
        for _ in range(2):
            channel = fleet.open_tcp("front", endpoint, 2.0)
            assert channel.recv(5) == b"hello"
            channel.close()
            site.server.drop_connections()


def test_connection_that_a_write_finds_dead_is_made_anew(
    site: Site, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its reading thread has noticed."""

    def broken(_: bytes) -> int:
        raise BrokenPipeError

    says(site, "recover", "decision -\nlive a\ndegraded no\nreason -\nend ok\n")
    fleet.node("front").recover()
    transport = fleet._slots["front"].connection._transport  # type: ignore[union-attr]
    assert transport is not None
    monkeypatch.setattr(transport.sock, "send", broken)
    assert transport.is_active()
    assert fleet.node("front").recover().live == "a"


def test_a_key_that_was_compared_is_recorded_and_then_known(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    site.known_hosts.write_text("")
    with site.fleet() as fleet:
        with pytest.raises(HostKeyUnknown) as caught:
            fleet.connect("front")
        key = fleet.host_key("front")
        assert key.fingerprint == caught.value.fingerprint
        fleet.trust(key)
        fleet.connect("front")
