"""A topology edited while the console is open is taken over, or said to be unusable."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kome_tui.nginx.render import render_release
from kome_tui.session import Session
from kome_tui.session.topology_watch import TopologyWatch, reopen_reason
from kome_tui.state import PlanSeen, PushStarted, TopologySeen, apply
from kome_tui.topology.load import load, packaged_file
from kome_tui.ui.ink import joined
from kome_tui.ui.present import push
from tests.builders_state import NOW, WANTED, healthy_state
from tests.waiting import wait_until
from tests.watched_fleet import Site, a_site

NEWER = "0123456789ab"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    copy = tmp_path / "topology.yaml"
    copy.write_text(packaged_file("topology.yaml").read_text())
    return copy


def edit(file: Path, old: str, new: str) -> None:
    """Write the file anew as an editor does, at a time of its own."""
    text = file.read_text()
    assert old in text
    new_file = file.with_suffix(".new")
    new_file.write_text(text.replace(old, new))
    new_file.replace(file)


def test_a_file_that_was_not_written_is_no_news(file: Path) -> None:
    watch = TopologyWatch(file, load(file))

    assert watch.news() is None


def test_an_edited_value_is_taken_over_once(file: Path) -> None:
    watch = TopologyWatch(file, load(file))
    edit(file, "read: 3600s", "read: 1800s")

    news = watch.news()

    assert news is not None
    assert news.topology is not None
    assert news.topology.timeouts.read == "1800s"
    assert watch.news() is None


def test_a_file_with_a_mistake_names_its_line(file: Path) -> None:
    watch = TopologyWatch(file, load(file))
    edit(file, "read: 3600s", "read: forever")

    news = watch.news()

    line = file.read_text().split("read: forever")[0].count("\n") + 1
    assert news is not None
    assert news.topology is None
    assert (news.problem or "").startswith(f"line {line}: ")


def test_a_file_that_is_gone_is_said_and_its_return_is_seen(file: Path) -> None:
    watch = TopologyWatch(file, load(file))
    away = file.with_suffix(".away")
    file.rename(away)
    gone = watch.news()
    os.utime(away)
    away.rename(file)
    back = watch.news()

    assert gone is not None
    assert "cannot be read" in (gone.problem or "")
    assert back is not None
    assert back.topology is not None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("address: 192.168.86.43}", "address: 192.168.86.143}", "node-03 has another address"),
        ("  user: kome", "  user: other", "kome has another way to log in"),
        ("port: 80\n", "port: 8080\n", "kome has another layout"),
        ("  node-10: {", "  node-11: {", "other nodes (node-10, node-11)"),
    ],
)
def test_what_the_connections_stand_on_needs_a_new_console(
    file: Path, old: str, new: str, why: str
) -> None:
    before = load(file)
    watch = TopologyWatch(file, before)
    edit(file, old, new)

    news = watch.news()

    assert reopen_reason(before, load(file)) == why
    assert news is not None
    assert news.problem == f"{why}: leave and open the console again for it"


def test_an_edit_makes_the_plan_old_until_somebody_reads_it() -> None:
    state = healthy_state()
    wanted: dict[str, str | None] = dict.fromkeys(state.nodes, NEWER)
    edited = apply(state, TopologySeen(NOW, state.topology, wanted, None))

    assert edited.is_plan_old
    assert {node.wanted for node in edited.nodes.values()} == {NEWER}
    assert not apply(edited, PlanSeen(NOW)).is_plan_old
    assert not apply(edited, PushStarted(NOW, ("node-01",), "deploy")).is_plan_old


def test_an_edit_that_renders_the_same_makes_no_plan_old() -> None:
    state = healthy_state()
    same: dict[str, str | None] = dict.fromkeys(state.nodes, WANTED)

    assert not apply(state, TopologySeen(NOW, state.topology, same, None)).is_plan_old


def test_a_push_asks_when_the_file_was_edited_and_names_the_nodes() -> None:
    state = healthy_state()
    wanted = {**dict.fromkeys(state.nodes, WANTED), "node-03": NEWER}
    edited = apply(state, TopologySeen(NOW, state.topology, wanted, None))

    asked = push.question(edited, tuple(edited.nodes))

    assert asked is not None
    assert asked.nodes == tuple(state.nodes)
    assert "edited since you last saw the plan" in joined(asked.text)
    assert "It changes: node-03" in joined(asked.text)


def test_a_push_asks_when_the_file_cannot_be_used() -> None:
    state = apply(healthy_state(), TopologySeen(NOW, None, {}, "line 3: no such key"))

    asked = push.question(state, tuple(state.nodes))

    assert asked is not None
    assert "line 3: no such key" in joined(asked.text)
    assert push.question(replace(state, file_problem=None), tuple(state.nodes)) is None


@pytest.fixture
def site() -> Iterator[Site]:
    with a_site() as found:
        yield found


@contextmanager
def running(site: Site, file: Path) -> Iterator[Session]:
    session = Session(site.topology, str(file), site.fleet, is_lab=True, read_only=False, file=file)
    session.start(lambda event: None)
    try:
        yield session
    finally:
        session.stop()


def test_the_open_console_pushes_what_the_file_says_now(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text("the file as it was")
    with running(site, file) as session:
        shorter = site.topology.timeouts.model_copy(update={"read": "1800s"})
        edited = site.topology.model_copy(update={"timeouts": shorter})
        _loads(monkeypatch, lambda _: edited)
        file.write_text("the file as it is")

        assert session.file_stamp() != session.state.file_stamp or session.state.is_plan_old
        wait_until(lambda: session.state.is_plan_old)
        assert session.file_stamp() == session.state.file_stamp

        assert session.topology.timeouts.read == "1800s"
        for name, node in session.state.nodes.items():
            assert node.wanted == render_release(edited, name).id
        assert any("read anew" in entry.text for entry in session.state.events)


def _loads(monkeypatch: pytest.MonkeyPatch, load: Callable[[Path], object]) -> None:
    monkeypatch.setattr("kome_tui.session.topology_watch.load", load)
