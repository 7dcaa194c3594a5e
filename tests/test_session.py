"""The session over a made-up SSH and real HTTP on loopback."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kome_tui.errors import HostKeyUnknown, ProtocolError, SshAuthFailed, SshUnreachable
from kome_tui.fleet.answers import LogChunk
from kome_tui.nginx.render import render_release
from kome_tui.session import Session
from kome_tui.session.console import STOP_S
from kome_tui.session.readings import end_of, silent_nodes, ssh_state, wait_s
from kome_tui.state import ConsoleState, Event, Noted, PushEnded, ServiceSeen, apply
from kome_tui.topology.model import UpstreamName
from kome_tui.triage.model import OPERATOR
from tests.builders_evidence import facts
from tests.waiting import wait_until
from tests.watched_fleet import HEALTHY, Site, a_site


@pytest.fixture
def site() -> Iterator[Site]:
    with a_site() as found:
        yield found


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    wait_until(lambda: not ours(), within_s=3)


def ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("kome-")]


@contextmanager
def running(
    site: Site, emit: Callable[[Event], None] = lambda event: None, read_only: bool = False
) -> Iterator[Session]:
    session = Session(site.topology, "topology.yaml", site.fleet, is_lab=True, read_only=read_only)
    session.start(emit)
    try:
        yield session
    finally:
        session.stop()


def codes(session: Session) -> list[str]:
    diagnosis = session.state.diagnosis.or_none()
    return [f.code for f in diagnosis.findings] if diagnosis is not None else ["none yet"]


def in_sync(site: Site) -> None:
    for name, node in site.fleet.nodes.items():
        node.facts_now = facts(live=render_release(site.topology, name).id)


def test_everything_is_measured(site: Site) -> None:
    in_sync(site)
    with running(site) as session:
        wait_until(lambda: codes(session) == [])
        wait_until(lambda: session.state.nodes["node-01"].traffic.or_none())
        wait_until(lambda: session.state.upstreams[UpstreamName.OKOME]["kome"].or_none())
        state = session.state
    node = state.nodes["node-01"]
    assert node.ssh.or_none() == "ok"
    assert node.facts.or_none() == site.fleet.nodes["node-01"].facts_now
    assert state.page.or_none() is not None
    for vantage in (OPERATOR, "kome"):
        check = state.upstreams[UpstreamName.OKOME][vantage].or_none()
        assert check is not None
        assert check.state == "up"


def test_no_diagnosis_is_made_of_nothing(site: Site) -> None:
    """Before any node was heard of, "healthy" would be a guess and "degraded" a false alarm."""
    in_sync(site)
    site.fleet.hangs |= set(site.fleet.nodes)
    looked = threading.Event()

    def note(event: Event) -> None:
        if isinstance(event, ServiceSeen):
            looked.set()

    with running(site, note) as session:
        assert looked.wait(10)
        rounds = session.state.page.taken_at
        wait_until(lambda: session.state.page.taken_at > rounds)  # a whole round is behind us
        assert session.state.diagnosis.or_none() is None


def test_the_session_says_how_its_fleet_is_named(site: Site) -> None:
    in_sync(site)
    site.fleet.nodes["node-01"].facts_now = facts(live="aaaaaaaaaaaa")
    named = "kome-tui -t /x/topology.yaml"
    session = Session(site.topology, "x", site.fleet, is_lab=True, read_only=False, command=named)
    session.start(lambda event: None)
    try:
        wait_until(lambda: codes(session) == ["release-pending"])
        diagnosis = session.state.diagnosis.or_none()
    finally:
        session.stop()
    assert diagnosis is not None
    assert diagnosis.findings[0].actions[-1].command == f"{named} deploy node-01"


def test_the_events_replayed_give_the_same_state(site: Site) -> None:
    events: list[Event] = []
    session = Session(site.topology, "topology.yaml", site.fleet, is_lab=True, read_only=False)
    state: ConsoleState = session.state
    session.start(events.append)
    wait_until(lambda: session.state.diagnosis.or_none())
    session.stop()
    for event in events:
        state = apply(state, event)
    assert state == session.state


def test_okome_erring_is_found_and_its_return_is_seen(site: Site) -> None:
    in_sync(site)
    with running(site) as session:
        wait_until(lambda: codes(session) == [])
        site.edge["kome"].answers |= {"/": (502, b""), "/v1/models": (502, b"")}
        site.okome.answers["/health"] = (500, HEALTHY)
        wait_until(lambda: codes(session)[:1] == ["okome-erroring"])
        site.edge["kome"].answers |= {"/": (200, b""), "/v1/models": (200, b"")}
        site.okome.answers["/health"] = (200, HEALTHY)
        wait_until(lambda: codes(session) == [])


def test_a_partition_is_never_shown_while_okome_goes_down(site: Site) -> None:
    """Looks from laptop and frontend are taken together, so they never contradict each other."""
    in_sync(site)
    shown: set[str] = set()

    def note(event: Event) -> None:
        shown.update(codes(session))

    session = Session(site.topology, "topology.yaml", site.fleet, is_lab=True, read_only=False)
    session.start(note)
    try:
        wait_until(lambda: codes(session) == [])
        site.okome.close()
        site.edge["kome"].answers |= {"/": (502, b""), "/v1/models": (502, b"")}
        wait_until(lambda: codes(session) == ["okome-down"])
    finally:
        session.stop()
        site.okome.close = lambda: None  # type: ignore[method-assign]
    assert "partition-frontend-okome" not in shown


def test_a_partition_is_found(site: Site) -> None:
    in_sync(site)
    with running(site) as session:
        site.fleet.cut.add(site.okome.port)
        site.edge["kome"].answers |= {"/": (504, b""), "/v1/models": (504, b"")}
        wait_until(lambda: codes(session) == ["partition-frontend-okome"])


def test_a_lost_connection_is_told_and_comes_back(site: Site) -> None:
    node = site.fleet.nodes["node-01"]
    with running(site) as session:
        wait_until(lambda: session.state.nodes["node-01"].ssh.or_none() == "ok")
        node.lose(SshUnreachable("node-01", "connection reset"))
        wait_until(lambda: session.state.nodes["node-01"].ssh.or_none() == "unreachable")
        assert session.state.nodes["node-01"].facts.why_missing == "no SSH: connection reset"
        node.ssh_error = None
        wait_until(lambda: session.state.nodes["node-01"].ssh.or_none() == "ok")
        texts = [entry.text for entry in session.state.events if entry.subject == "node-01"]
    assert texts[:2] == ["SSH: connection reset", "SSH is back"]


def test_the_frontend_is_not_asked_to_look_without_ssh(site: Site) -> None:
    site.fleet.nodes["kome"].ssh_error = SshAuthFailed("kome", "none of our keys fits")
    with running(site) as session:
        wait_until(lambda: "ssh-auth-failed" in codes(session))
        look = session.state.upstreams[UpstreamName.OKOME]["kome"]
    assert look.why_missing == "no SSH to kome"


def test_an_answer_out_of_protocol_is_not_a_dead_node(site: Site) -> None:
    site.fleet.nodes["node-01"].facts_error = ProtocolError("node-01", "facts: nonsense")
    with running(site) as session:
        wait_until(lambda: session.state.nodes["node-01"].facts.why_missing == "facts: nonsense")
        assert session.state.nodes["node-01"].ssh.or_none() == "ok"


def test_a_followed_log_goes_on_where_it_was(site: Site) -> None:
    node = site.fleet.nodes["node-01"]
    with running(site):
        wait_until(lambda: node.follow_stream)
        node.logged(LogChunk(7, 100, b"x" * 20))
        wait_until(lambda: not node.follow_stream or node.follow_stream._items.empty())
        node.lose(SshUnreachable("node-01", "lost"))
        node.ssh_error = None
        wait_until(lambda: len(node.follows) == 2, within_s=15)
    assert node.follows == [(None, 0), (7, 120)]


def test_an_unexpected_error_is_told_and_ends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fleet.nodes["node-01"].facts_error = ValueError("surprise")  # type: ignore[assignment]
    notes: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Noted):
            notes.append(event.entry.text)

    monkeypatch.setattr("kome_tui.session.console.RESTART_S", 0.2)
    with running(site, note) as session:
        wait_until(lambda: notes)
        wait_until(lambda: session.state.nodes["kome"].ssh.or_none() == "ok")
        site.fleet.nodes["node-01"].facts_error = None
        wait_until(lambda: session.state.nodes["node-01"].ssh.or_none() == "ok")
    assert set(notes) == {"facts-node-01: ValueError: surprise"}


def test_one_push_at_a_time(site: Site) -> None:
    ended: list[PushEnded] = []

    def note(event: Event) -> None:
        if isinstance(event, PushEnded):
            ended.append(event)

    node = site.fleet.nodes["node-01"]
    with running(site, note) as session:
        assert session.deploy(("node-01",))
        assert not session.deploy(("node-01",))
        assert not session.rollback(("node-01",))
        wait_until(node.staging.is_set)
        node.go_on.set()
        wait_until(lambda: ended)
        assert session.state.last_push is not None
        assert session.state.last_push.nodes["node-01"].outcome == "unchanged"
        assert session.deploy(("node-01",))
        wait_until(lambda: len(ended) == 2)


def test_a_push_that_is_stopped_leaves_the_rest_untouched(site: Site) -> None:
    node = site.fleet.nodes["node-01"]
    node.in_sync = False
    with running(site) as session:
        assert session.deploy(("node-01",))
        wait_until(node.staging.is_set)
        session.stop_push()
        node.go_on.set()
        report = wait_until(lambda: session.state.last_push)
        assert session.state.pushing == ()
    assert report.nodes["node-01"].outcome == "untouched"


def test_stop_takes_a_running_push_back(site: Site) -> None:
    node = site.fleet.nodes["node-01"]
    with running(site) as session:
        assert session.deploy(("node-01",))
        wait_until(node.staging.is_set)
        push = session._push
        began = time.monotonic()
    assert push is not None
    assert push.stop.is_set()
    assert time.monotonic() - began < STOP_S + 0.5


def test_a_script_waits_on_every_node_for_the_next_push(site: Site) -> None:
    with running(site):
        wait_until(lambda: all(node.made_ready for node in site.fleet.nodes.values()))


def test_read_only_pushes_nothing(site: Site) -> None:
    with running(site, read_only=True) as session:
        wait_until(lambda: all(node.facts_stream for node in site.fleet.nodes.values()))
        assert not any(node.made_ready for node in site.fleet.nodes.values())
        assert not session.deploy(("node-01",))
        assert not session.rollback(("node-01",))


def test_one_probe_at_a_time_and_stop_ends_it(site: Site) -> None:
    with running(site) as session:
        assert session.probe()
        assert not session.probe()
        assert not session.triage()
        wait_until(lambda: session.state.probe_running)


def test_a_probe_of_servers_that_do_not_stream_ends_with_reasons(site: Site) -> None:
    with running(site) as session:
        assert session.triage()
        probe = wait_until(lambda: session.state.probe.or_none())
    assert not any(path.plain.ok for path in probe.paths)
    assert not session.state.probe_running


def test_stop_is_prompt_even_with_a_node_that_hangs(site: Site) -> None:
    site.fleet.hangs.add("node-01")
    with running(site) as session:
        wait_until(lambda: session.state.diagnosis.or_none())
    assert site.fleet.closed == 1
    session.stop()
    assert ours() == []


def test_stop_before_start_is_harmless(site: Site) -> None:
    Session(site.topology, "x", site.fleet, is_lab=False, read_only=False).stop()


def test_nothing_is_emitted_after_stop(site: Site) -> None:
    events: list[Event] = []
    with running(site, events.append) as session:
        wait_until(lambda: session.state.diagnosis.or_none())
    count = len(events)
    session._put(*events[:1])
    assert len(events) == count


def test_a_node_that_falls_silent_is_unreachable() -> None:
    with a_site() as site:
        in_sync(site)
        with running(site) as session:
            wait_until(lambda: session.state.nodes["node-01"].facts.or_none())
            state = session.state
    at = state.nodes["node-01"].facts.taken_at
    assert silent_nodes(state, at + 5) == ()
    assert {event.node for event in silent_nodes(state, at + 60)} >= {"node-01"}  # type: ignore[union-attr]


def test_attempts_grow_apart() -> None:
    assert [wait_s(n, "unreachable") for n in range(7)] == [1, 2, 4, 8, 15, 15, 15]
    assert wait_s(1, "auth-failed") == 60


def test_errors_become_ssh_states() -> None:
    assert ssh_state(SshUnreachable("n", "gone")) == "unreachable"
    assert ssh_state(HostKeyUnknown("n", "ssh-ed25519", "SHA256:x")) == "host-key-unknown"
    assert ssh_state(ProtocolError("n", "nonsense")) is None


def test_a_chunk_ends_where_the_next_begins() -> None:
    assert end_of(LogChunk(7, 100, b"12345")) == (7, 105)
